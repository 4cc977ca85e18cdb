/** What is left of a device that was removed: in each store, everything with its id or payload is searched for. */
import { Redis } from "ioredis";
import { DatabaseSync } from "node:sqlite";

import { assert, assertEquals } from "@std/assert";

import { shardKeys } from "../../src/store/redis/keys.ts";
import { openSqliteStore } from "../../src/store/sqlite/sqlite_store.ts";
import type { Store } from "../../src/store/store.ts";
import { hour, minute } from "../contracts/parts.ts";
import { batch, delta, now } from "../support/batches.ts";
import { withFile } from "../support/folders.ts";
import { type RedisServer, startRedis } from "../support/redis_server.ts";
import { withStore } from "../support/redis_store.ts";
import { until } from "../support/until.ts";

const keys = shardKeys();

const removed = "erase-me", kept = "keep-me";
const secret = "a payload that is long enough for the hash of payloads, and is to be erased: 0123456789";

/**
 * Gives both devices all that a device can have: a history, values, an event, a long payload, a count that was set aside.
 */
async function fill(store: Store, setAside: (deviceId: string) => Promise<unknown> | void): Promise<void> {
  let sequence = 0;
  const send = async (atMs: number, payload: string) => {
    const json = (text: string) => JSON.stringify({ temperature: 21.5, text });
    const devices = [delta(removed, 1, atMs, json(payload)), delta(kept, 1, atMs, json("kept"))];
    assertEquals(await store.apply({ ...batch(++sequence, { devices }), receivedAtMs: atMs }), []);
  };
  for (const atMs of [now, now + minute, now + 2 * hour]) await send(atMs, secret);
  assertEquals(await store.markOffline([removed, kept], now + 3 * hour, now + 3 * hour), 2);
  for (const deviceId of [removed, kept]) await setAside(deviceId);
  const labels = { name: "A name", tags: new Map([["site", "oslo"]]), notes: secret };
  await store.setLabels([{ deviceId: removed, ...labels }, { deviceId: kept, ...labels, notes: "kept" }]);
  await send(now + 4 * hour, secret);
  await folded(store);
}

/** Waits until no sample waits: what waits of a removed device is dropped then. */
async function folded(store: Store): Promise<void> {
  await until(async () => {
    await store.ping();
    return (await store.waitingSamples()).bytes === 0;
  }, "no sample waits");
}

/** Keys whose content has `text`. */
async function keysWith(server: RedisServer, text: string): Promise<string[]> {
  const redis = new Redis(server.url);
  const readers: Record<string, (key: string) => Promise<unknown>> = {
    hash: (key) => redis.hgetallBuffer(key),
    list: (key) => redis.lrangeBuffer(key, 0, -1),
    string: (key) => redis.getBuffer(key),
    zset: (key) => redis.zrangeBuffer(key, "0", "-1"),
    // A probe, which has expired meanwhile.
    none: () => Promise.resolve(""),
  };
  const found: string[] = [];
  try {
    for (const key of await redis.keys("*")) {
      const content = await readers[await redis.type(key)]!(key);
      const texts = [content].flat().flatMap((value) =>
        value instanceof Uint8Array ? [value] : Object.entries(value as object).flat()
      ).map((value) => value instanceof Uint8Array ? new TextDecoder("latin1").decode(value) : String(value));
      if (texts.some((value) => value.includes(text))) found.push(key);
    }
  } finally {
    redis.disconnect();
  }
  return found.sort();
}

/** Tables of which a row has `text`. */
function tablesWith(path: string, text: string): string[] {
  const db = new DatabaseSync(path);
  try {
    const tables = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all() as {
      name: string;
    }[];
    const rowsOf = (name: string) => {
      const statement = db.prepare(`SELECT * FROM ${name}`);
      statement.setReadBigInts(true);
      return statement.all();
    };
    return tables.map(({ name }) => name).filter((name) =>
      rowsOf(name).some((row) =>
        Object.values(row).some((value) =>
          (value instanceof Uint8Array ? new TextDecoder("latin1").decode(value) : String(value)).includes(
            text,
          )
        )
      )
    ).sort();
  } finally {
    db.close();
  }
}

for (const method of ["remove", "removeUnseen"] as const) {
  const remove = async (store: Store) =>
    method === "remove"
      ? await store.remove(removed)
      : await store.removeUnseen([removed], now + 24 * hour) === 1;

  Deno.test(`${method}() leaves the id of a device in Redis's lists of events and changes, and in no other key`, async () => {
    await using server = await startRedis();
    await withStore(server, async (store) => {
      await fill(store, (deviceId) => server.call("HSET", keys.counts, deviceId, "not a count"));
      const before = await keysWith(server, removed);
      assertEquals(
        before.length,
        14,
        "counts, records, payloads, histories, set aside, events, labels, notes, changes, values and their feed",
      );
      assertEquals(await keysWith(server, secret), [keys.notes, keys.payloads]);
      assert(await remove(store));
      await folded(store);
      const left = [keys.changes, keys.events, keys.labelChanges, keys.valueFeed];
      assertEquals(await keysWith(server, removed), left.sort());
      assertEquals(await keysWith(server, secret), []);
      assert((await keysWith(server, kept)).length >= 9, "the other device has what it had");
    });
  });

  Deno.test(`${method}() leaves the id of a device in SQLite's tables of events and changes, and in no other table`, () =>
    withFile(async (path) => {
      const store = await openSqliteStore({ path, ackAfter: { kind: "stored" }, values: { maxNames: 16 } });
      try {
        await fill(store, (deviceId) => {
          const db = new DatabaseSync(path);
          db.prepare("UPDATE devices SET count = ? WHERE device_id = ?").run(2n ** 63n - 1n, deviceId);
          db.close();
        });
        assertEquals(tablesWith(path, removed), [
          "changes",
          "device_values",
          "devices",
          "events",
          "label_changes",
          "labels",
          "set_aside",
          "value_feed",
          "value_histories",
        ]);
        assertEquals(tablesWith(path, secret), ["devices", "labels"]);
        assert(await remove(store));
        await folded(store);
        assertEquals(tablesWith(path, removed), ["changes", "events", "label_changes", "value_feed"]);
        assertEquals(tablesWith(path, secret), []);
        assertEquals(tablesWith(path, kept), [
          "changes",
          "device_values",
          "devices",
          "events",
          "label_changes",
          "labels",
          "set_aside",
          "value_feed",
          "value_histories",
        ]);
      } finally {
        await store.close();
      }
    }));
}
