/**
 * The SQLite store: the contract, the file, and its locks.
 *
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { basename, dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";

import {
  type AckAfter,
  NEW_SESSION_EXPIRY_MS,
  PRODUCER_EXPIRY_MS,
  SESSION_EXPIRY_MS,
} from "../../src/store/packets.ts";
import { MAX_STEP_MS } from "../../src/store/sqlite/expiry_clock.ts";
import { openSqliteStore } from "../../src/store/sqlite/sqlite_store.ts";
import { openSqliteThreads } from "../../src/store/sqlite/threads.ts";
import type { Store } from "../../src/store/store.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { everyHourThenEveryMinute } from "../contracts/parts.ts";
import { testStoreContract } from "../contracts/store_contract.ts";
import { advance, batch, countsOf, delta, now } from "../support/batches.ts";
import { copyOf, withFile } from "../support/folders.ts";
import { openStoreAt } from "../support/store_location.ts";
import { until } from "../support/until.ts";

for (const [title, kind] of [["SQLite", "sqlite"], ["SQLite in threads", "sqlite-threads"]] as const) {
  testStoreContract(title, async () => {
    const dir = await Deno.makeTempDir({ prefix: "tally-sqlite-" });
    const location = { kind, path: `${dir}/data/tally.db` };
    return {
      location,
      open: () => openStoreAt(location),
      snapshot: () => copyOf(location.path),
      [Symbol.asyncDispose]: () => Deno.remove(dir, { recursive: true }),
    };
  });
}

Deno.test("openSqliteThreads(): failures are StoreErrors, and later calls succeed", () =>
  withFile(async (path) => {
    const ackAfter = { kind: "stored" } as const;
    await Deno.mkdir(path);
    await assertRejects(() => openSqliteThreads({ path, ackAfter, lockTimeoutMs: 1 }), StoreError, path);
    await Deno.remove(path);

    const store = await openSqliteThreads({ path, ackAfter, lockTimeoutMs: 1 });
    const other = new DatabaseSync(path);
    other.exec("BEGIN IMMEDIATE");
    await assertRejects(() => store.apply(batch(1, { devices: [delta("a", 1)] })), StoreError, "locked");
    // The thread that reads cannot check the tables now; its next call does.
    await assertRejects(() => store.device("a"), StoreError, "locked");
    other.exec("ROLLBACK");
    other.close();
    assertEquals(await store.apply(batch(1, { devices: [delta("a", 1)] })), []);
    assertEquals(await countsOf(store), { a: 1 });
    await store.close();
    await store.close();
    await assertRejects(() => store.ping(), StoreError, "not open");
    await assertRejects(() => countsOf(store), StoreError, "not open");
  }));

Deno.test("openSqliteThreads(): close() leaves one file", () =>
  withFile(async (path) => {
    const store = await openSqliteThreads({ path, ackAfter: { kind: "stored" } });
    await store.apply(batch(1, { devices: [delta("a", 1)] }));
    assertEquals(await countsOf(store), { a: 1 });
    await store.close();
    const files = await Array.fromAsync(Deno.readDir(dirname(path)), ({ name }) => name);
    assertEquals(files, [basename(path)]);
  }));

Deno.test("openSqliteStore() finds stored data when the file is opened again", () =>
  withFile(async (path) => {
    await withStore(path, async (store) => {
      const { epoch } = await store.claimSession("s", 0, now);
      await store.apply(batch(1, { devices: [delta("a", 2)], sessions: [advance("s", epoch, 0, 2)] }));
      assertEquals(store.description, `SQLite file ${path}`);
    });
    await withStore(path, async (store) => {
      assertEquals(await countsOf(store), { a: 2 });
      const { committed, lost } = await store.claimSession("s", 2, now);
      assertEquals([committed, lost], [2, 0]);
      await store.apply(batch(1, { devices: [delta("a", 2)] }));
      assertEquals(await countsOf(store), { a: 2 });
    });
  }));

Deno.test("ackAfter synced syncs the file at every commit; stored, at checkpoints", () =>
  withFile(async (path) => {
    const pragmas = async (ackAfter: AckAfter) => {
      const statements = await recorded(() => withStore(path, (store) => store.ping(), { ackAfter }));
      return statements.filter((sql) => sql.includes("synchronous"));
    };
    assertEquals(await pragmas({ kind: "synced" }), ["PRAGMA synchronous = FULL"]);
    assertEquals(await pragmas({ kind: "stored" }), ["PRAGMA synchronous = NORMAL"]);
  }));

Deno.test("openSqliteStore() refuses ackAfter replicated", () =>
  withFile(async (path) => {
    const ackAfter = { kind: "replicated", replicas: 1 } as const;
    await assertRejects(() => openSqliteStore({ path, ackAfter }), StoreError, "needs Redis");
  }));

Deno.test("openSqliteStore() names a file that cannot be opened or is not a database", () =>
  withFile(async (path) => {
    const ackAfter = { kind: "stored" } as const;
    await Deno.writeTextFile(
      path,
      "this is not a database, but it is long enough to be taken for one".repeat(20),
    );
    await assertRejects(() => openSqliteStore({ path, ackAfter, lockTimeoutMs: 1 }), StoreError, path);
    await assertRejects(() => openSqliteStore({ path: `${path}/inside.db`, ackAfter }), StoreError, path);
  }));

Deno.test("SqliteStore: a lock of another process rejects writers in time, and readers still read", () =>
  withFile((path) =>
    withStore(path, async (store) => {
      await store.apply(batch(1, { devices: [delta("a", 1)] }));
      const other = new DatabaseSync(path);
      other.exec("BEGIN IMMEDIATE");
      const second = batch(2, { devices: [delta("a", 1)] });
      const attempts = await recorded(async () => {
        await assertRejects(() => store.apply(second), StoreError, "database is locked");
      });
      assert(attempts.length > 10, `only ${attempts.length} attempts: each one waited`);
      await assertRejects(() => store.claimSession("s", 0, now), StoreError, "database is locked");
      await assertRejects(() => store.remove("a"), StoreError, "database is locked");
      await assertRejects(() => store.ping(), StoreError, "database is locked");
      assertEquals(await countsOf(store), { a: 1 });
      assertEquals((await store.device("a"))?.count, 1);

      const waiting = store.apply(second);
      other.exec("ROLLBACK");
      other.close();
      assertEquals(await waiting, []);
      assertEquals(await countsOf(store), { a: 2 });
    }, { lockTimeoutMs: 200 })
  ));

Deno.test("SqliteStore.apply() writes nothing of a batch that fails in the middle", () =>
  withFile((path) =>
    withStore(path, async (store) => {
      const { epoch } = await store.claimSession("s", 0, now);
      const other = new DatabaseSync(path);
      other.exec(`CREATE TRIGGER full BEFORE INSERT ON devices WHEN new.device_id = 'z'
        BEGIN SELECT raise(ABORT, 'no room for z'); END`);
      const devices = [delta("a", 1), delta("z", 1)];
      const both = batch(1, { devices, sessions: [advance("s", epoch, 0, 2)] });
      await assertRejects(() => store.apply(both), StoreError, "no room for z");
      assertEquals(await countsOf(store), {});
      other.exec("DROP TRIGGER full");
      other.close();
      assertEquals(await store.apply(both), []);
      assertEquals(await countsOf(store), { a: 1, z: 1 });
    })
  ));

Deno.test("SqliteStore removes sessions and producers that were unused for a week", () =>
  withFile((path) =>
    withStore(path, async (store) => {
      await store.claimSession("idle", 5, now);
      const { epoch } = await store.claimSession("used", 5, now);
      const begun = batch(1, { sessions: [advance("used", epoch, 5, 6)] });
      assertEquals(await store.apply({ ...begun, producer: "q" }), []);
      const late = now + SESSION_EXPIRY_MS - 1;
      const first = batch(1, { devices: [delta("a", 1)], sessions: [advance("used", epoch, 6, 7)] });
      // The clock by which rows expire advances in small steps.
      let sequence = 1;
      const passTo = async (untilMs: number) => {
        for (let atMs = lastMs; atMs < untilMs; lastMs = atMs = Math.min(atMs + MAX_STEP_MS, untilMs)) {
          await store.apply({ ...batch(++sequence, {}), producer: "q", receivedAtMs: atMs });
        }
      };
      let lastMs = now;
      await passTo(late);
      await store.apply({ ...first, receivedAtMs: late });

      const expired = batch(1, { sessions: [advance("idle", 1, 5, 6)] });
      assertEquals(await store.apply({ ...expired, producer: "r", receivedAtMs: late + 1 }), [
        { session: "idle", kind: "reverted", committed: 5 },
      ]);
      const anew = await store.claimSession("idle", 9, late + 1);
      assertEquals(anew.committed, 9);
      assertEquals((await store.claimSession("used", 0, late + 1)).committed, 7);

      const muchLater = late + PRODUCER_EXPIRY_MS + 10_000;
      await passTo(muchLater + MAX_STEP_MS);
      const other = new DatabaseSync(path);
      assertEquals(other.prepare("SELECT producer FROM producers").all().map((row) => row.producer), ["q"]);
      assertEquals(other.prepare("SELECT session FROM sessions").all(), []);
      other.close();
    })
  ));

Deno.test("SqliteStore removes a session of which nothing is stored soon, however often it is claimed", () =>
  withFile((path) =>
    withStore(path, async (store) => {
      const limits = { maxSessions: 2, mayCreate: true };
      const claim = (session: string, atMs: number) =>
        store.claimSession(session, 3, atMs, undefined, limits);
      const { epoch } = await claim("stored", now);
      assertEquals(await store.apply(batch(1, { sessions: [advance("stored", epoch, 3, 4)] })), []);
      assertEquals((await claim("new", now)).isNew, true);
      const soon = now + NEW_SESSION_EXPIRY_MS;
      assertEquals((await claim("new", soon - 1)).isNew, false);
      assertEquals((await claim("third", soon - 1)).refused, "maxSessions");
      const third = await claim("third", soon);
      assertEquals([third.isNew, third.refused], [true, undefined]);
      assertEquals((await claim("stored", soon)).committed, 4);
      const other = new DatabaseSync(path);
      const names = other.prepare("SELECT session FROM sessions ORDER BY session").all();
      assertEquals(names.map(({ session }) => session), ["stored", "third"]);
      assertEquals(other.prepare("SELECT sessions FROM totals").get()!["sessions"], 2);
      other.close();
    })
  ));

Deno.test("SqliteStore: histories of devices and fleet are bounded", () =>
  withFile((path) =>
    withStore(path, async (store) => {
      for (const [i, receivedAtMs] of everyHourThenEveryMinute().entries()) {
        await store.apply({ ...batch(i + 1, { devices: [delta("a", 1)] }), receivedAtMs });
      }
      const other = new DatabaseSync(path);
      assertEquals(other.prepare("SELECT length(history) AS bytes FROM devices").get()?.bytes, 4 + 59 + 23);
      const periods = other.prepare(
        "SELECT count(*) AS rows FROM fleet_history GROUP BY period_ms ORDER BY period_ms",
      );
      // Half an hour of seconds, two hours of minutes, two days of hours; one packet a minute or an hour.
      assertEquals(periods.all().map(({ rows }) => rows), [31, 62, 28]);
      other.close();
    })
  ));

Deno.test("SqliteStore: an invalid count is set aside and logged once, in threads too", async () => {
  for (const open of [openSqliteStore, openSqliteThreads]) {
    await withFile(async (path) => {
      const warnings: string[] = [];
      const log = {
        warn: (message: string, properties: Record<string, unknown>) =>
          void warnings.push(message.replace(/\{(\w+)\}/g, (_, name) => String(properties[name]))),
      };
      const store = await open({ path, ackAfter: { kind: "stored" }, log });
      try {
        const devices = ["a", "b", "c"].map((id) => delta(id, 1));
        await store.apply(batch(1, { devices }));
        const other = new DatabaseSync(path);
        other.exec("UPDATE devices SET count = -5 WHERE device_id = 'b'");
        other.exec("UPDATE devices SET count = 9223372036854775807 WHERE device_id = 'c'");
        for (let reading = 0; reading < 2; reading++) {
          assertEquals(await countsOf(store), { a: 1 });
          assertEquals((await store.summaries(["a", "b", "c"])).length, 1);
          assertEquals(await store.device("c"), undefined);
          assertEquals(await store.history("c", now), undefined);
        }
        const named = (part: string) => warnings.filter((warning) => warning.includes(part)).length;
        assertEquals([named("holds -5 as the count of b"), named("holds 9223372036854775807 as")], [1, 1]);
        assertEquals(await store.apply(batch(2, { devices })), []);
        assertEquals(await countsOf(store), { a: 2, b: 1, c: 1 });
        const kept = other.prepare("SELECT device_id, CAST(count AS TEXT) AS count FROM set_aside").all();
        assertEquals(kept.map((row) => ({ ...row })), [
          { device_id: "b", count: "-5" },
          { device_id: "c", count: "9223372036854775807" },
        ]);
        await until(() => named("is kept in table set_aside") === 2, "they are named");
        other.close();
      } finally {
        await store.close();
      }
    });
  }
});

Deno.test("SqliteStore.apply() records that the file was restored, also if no session of the batch shows it", () =>
  withFile((path) =>
    withStore(path, async (store) => {
      await store.apply(batch(1, { devices: [delta("a", 1)] }));
      const other = new DatabaseSync(path);
      other.exec("UPDATE lineage SET since_ms = 0");
      other.close();
      assertEquals((await store.claimSession("idle", 5, now)).lost, 0);
      await store.apply(batch(2, { devices: [delta("a", 1)] }));
      assertEquals((await store.claimSession("idle too", 5, now)).lost, 0);
      await store.apply(batch(5, { devices: [delta("a", 1)] })); // number 4 is not there
      assertEquals((await store.claimSession("gone", 5, now)).lost, 5);
      assertEquals(await countsOf(store), { a: 3 });
    })
  ));

Deno.test("SqliteStore.close(): later calls reject", () =>
  withFile(async (path) => {
    const store = await openSqliteStore({ path, ackAfter: { kind: "stored" } });
    await store.close();
    await store.close();
    await assertRejects(() => store.ping(), StoreError, "not open");
    await assertRejects(() => store.apply(batch(1, {})), StoreError);
    await assertRejects(() => store.device("a"), StoreError);
    await assertRejects(() => countsOf(store), StoreError);
  }));

/** SQL run by `body`, as its own connection executes it: it is visible nowhere else. */
async function recorded(body: () => Promise<void>): Promise<string[]> {
  const statements: string[] = [];
  const exec = DatabaseSync.prototype.exec;
  DatabaseSync.prototype.exec = function (sql: string) {
    statements.push(sql);
    return exec.call(this, sql);
  };
  try {
    await body();
  } finally {
    DatabaseSync.prototype.exec = exec;
  }
  return statements;
}

async function withStore(
  path: string,
  body: (store: Store) => Promise<void>,
  { ackAfter = { kind: "stored" }, lockTimeoutMs = 1000 }: { ackAfter?: AckAfter; lockTimeoutMs?: number } =
    {},
): Promise<void> {
  const store = await openSqliteStore({ path, ackAfter, lockTimeoutMs });
  try {
    await body(store);
  } finally {
    await store.close();
  }
}
