/**
 * The Redis store as a user that may not run every command it needs: a script that is refused in the middle must
 * not have written anything, for Redis does not undo it and the batch is sent again.
 *
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";

import type { TokenRecord } from "../../src/store/credentials.ts";
import type { DeviceDelta } from "../../src/store/packets.ts";
import { shardKeys } from "../../src/store/redis/keys.ts";
import type { Store } from "../../src/store/store.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { keeping, textOf } from "../contracts/packet_stream_contract.ts";
import { advance, batch, countsOf, now } from "../support/batches.ts";
import { documentedPermissions, type RedisServer, startRedis } from "../support/redis_server.ts";
import { openStore } from "../support/redis_store.ts";

const permissions = await documentedPermissions();

/** The commands of OPERATIONS.md's user but those of the connection itself. */
const COMMANDS = permissions.filter((word) => /^\+(?!(select|wait|info|client)\b)/.test(word)).map((word) =>
  word.slice(1)
);

/** A store of OPERATIONS.md's user. */
async function openAsUser(server: RedisServer): Promise<Store> {
  await server.call("ACL", "SETUSER", "tally", ...permissions, ">secret");
  return await openStore({ url: `redis://tally:secret@127.0.0.1:${server.port}` });
}

/** Calls without each of the commands in turn, and then with it; resolves to the commands without which it was refused. */
async function refusedWithout(
  server: RedisServer,
  call: (command: string) => Promise<unknown>,
  check: (command: string, wasRefused: boolean) => Promise<void>,
): Promise<string[]> {
  const refused: string[] = [];
  for (const command of COMMANDS) {
    await server.call("ACL", "SETUSER", "tally", `-${command}`);
    const wasRefused = await call(command).then(() => false, (error) => {
      assert(error instanceof StoreError, String(error));
      return true;
    });
    await server.call("ACL", "SETUSER", "tally", `+${command}`);
    if (wasRefused) refused.push(command);
    await check(command, wasRefused);
  }
  return refused;
}

const WRITES = ["set", "hset", "hdel", "lpop", "ltrim", "rpush", "pexpire"];

Deno.test("RedisStore.apply() as a user without one of its commands writes nothing, and all when permitted", async () => {
  await using server = await startRedis();
  const store = await openAsUser(server);
  try {
    // Device "a" comes back in a later minute, with a payload that is short again: all that a batch can write.
    const { epoch } = await store.claimSession("s", 0, now);
    let sequence = 0, atMs = now, packets = 0, next = batch(1, {});
    const delta = (deviceId: string, bytes: number): DeviceDelta => (
      { deviceId, packets: 1, timestampMs: atMs, payload: new Uint8Array(bytes) }
    );
    const prepare = async () => {
      const devices = [delta("a", 100)];
      const sessions = [advance("s", epoch, packets, packets + 1)];
      assertEquals(
        await store.apply({ ...batch(++sequence, { devices, sessions }), receivedAtMs: atMs }),
        [],
      );
      await store.markOffline(["a"], atMs + 1, atMs + 1);
      packets++;
      atMs += 120_000;
      next = {
        ...batch(++sequence, {
          devices: [delta("a", 10), delta("b", 100)],
          sessions: [advance("s", epoch, packets, packets + 2)],
        }),
        receivedAtMs: atMs,
      };
    };
    await prepare();
    let versions = await store.changes();
    const refused = await refusedWithout(server, () => store.apply(next), async (command, wasRefused) => {
      if (wasRefused) assertEquals((await store.changes()).version, versions.version, command);
      assertEquals(await store.apply(next), []);
      packets += 2;
      const counts = await countsOf(store);
      assertEquals(counts["a"]! + counts["b"]!, packets, command);
      assertEquals(
        await server.call("GET", "tally:{device_metrics}:session:s"),
        `${epoch} ${packets}`,
        command,
      );
      const { hours } = await store.fleetHistory(atMs);
      assertEquals(hours.reduce((sum, hour) => sum + hour.packets, 0), packets, command);
      assertEquals((await store.events(undefined, 1))[0]?.kind, "online", command);
      atMs += 120_000;
      await prepare();
      versions = await store.changes();
    });
    for (const command of WRITES) assert(refused.includes(command), `without ${command} it was not refused`);
  } finally {
    await store.close();
  }
});

Deno.test("RedisStore.claimSession(), markOffline() and remove() write all or nothing", async () => {
  await using server = await startRedis();
  const store = await openAsUser(server);
  try {
    let sequence = 0;
    const revive = () =>
      store.apply({
        ...batch(++sequence, {
          devices: [{ deviceId: "a", packets: 1, timestampMs: 1, payload: new Uint8Array(100) }],
        }),
        receivedAtMs: now + sequence,
      });
    await revive();
    let events = 0;
    const refusedOffline = await refusedWithout(
      server,
      () => store.markOffline(["a"], now + 1e6, now),
      async (command, wasRefused) => {
        const marked = await store.markOffline(["a"], now + 1e6, now);
        assertEquals(marked, wasRefused ? 1 : 0, command);
        assertEquals((await store.events(0, 10_000)).length, ++events, command);
        await revive();
        events++;
      },
    );
    for (const command of ["set", "hset", "ltrim", "rpush"]) {
      assert(refusedOffline.includes(command), command);
    }

    const refusedRemove = await refusedWithout(
      server,
      () => store.remove("a"),
      async (command, wasRefused) => {
        assertEquals(await store.remove("a"), wasRefused, command);
        const left = await server.call("EXISTS", "device_metrics", "tally:{device_metrics}:records");
        assertEquals(left, 0, command);
        await revive();
      },
    );
    for (const command of ["set", "hdel", "rpush"]) assert(refusedRemove.includes(command), command);

    let epoch = 0;
    await refusedWithout(server, () => store.claimSession("s", 0, now), async (command) => {
      const claim = await store.claimSession("s", 0, now);
      assert(claim.epoch > epoch, command);
      assertEquals([claim.committed, claim.lost], [0, 0], command);
      ({ epoch } = claim);
    });
  } finally {
    await store.close();
  }
});

Deno.test("RedisStore.addTokens(), revokeTokens() and appendAudit() write all or nothing", async () => {
  await using server = await startRedis();
  const store = await openAsUser(server);
  const token = (id: string): TokenRecord => ({
    ...{
      id,
      kind: "device",
      hash: id,
      subject: id,
      scopes: [],
      createdMs: now,
      createdBy: "",
      lastUsedMs: 0,
    },
  });
  const listed = async () => (await store.tokens("device", "", 9)).map(({ id }) => id);
  try {
    let added = 0;
    const refusedAdd = await refusedWithout(
      server,
      () => store.addTokens([token(`${++added}`), token(`${added}-too`)]),
      async (command, wasRefused) => {
        assertEquals(await listed(), wasRefused ? [] : [`${added}`, `${added}-too`], command);
        await store.revokeTokens([`${added}`, `${added}-too`]);
      },
    );
    await store.addTokens([token("a"), token("b")]);
    const refusedRevoke = await refusedWithout(
      server,
      () => store.revokeTokens(["a", "b"]),
      async (command, wasRefused) => {
        assertEquals(await listed(), wasRefused ? ["a", "b"] : [], command);
        if (!wasRefused) await store.addTokens([token("a"), token("b")]);
      },
    );
    let entries = 0;
    const refusedAppend = await refusedWithout(
      server,
      () => store.appendAudit([{ atMs: now, actor: "", action: "", target: "", detail: "" }]),
      async (command, wasRefused) => {
        if (!wasRefused) entries++;
        assertEquals((await store.audit(undefined, 99)).length, entries, command);
      },
    );
    for (const command of ["set", "hset", "zadd", "zrem"]) assert(refusedAdd.includes(command), command);
    for (const command of ["set", "hdel", "zrem"]) assert(refusedRevoke.includes(command), command);
    for (const command of ["rpush", "ltrim"]) assert(refusedAppend.includes(command), command);
  } finally {
    await store.close();
  }
});

Deno.test("RedisStore.apply() with a packet stream writes nothing as a user that may not append to it", async () => {
  await using server = await startRedis();
  const store = await openAsUser(server);
  try {
    const streamed = { ...batch(1, { devices: [keeping("a", "1")] }), packetStream: { maxEntries: 10 } };
    for (const command of ["xadd", "xtrim", "xlen"]) {
      const all = ["+xadd", "+xlen", "+xrange", "+xtrim"];
      await server.call("ACL", "SETUSER", "tally", ...all, `-${command}`);
      await assertRejects(() => store.apply(streamed), StoreError);
      assertEquals([await countsOf(store), await server.call("EXISTS", shardKeys().packetStream)], [{}, 0]);
    }
    await server.call("ACL", "SETUSER", "tally", "+xlen");
    assertEquals(await store.apply(streamed), []);
    assertEquals([await countsOf(store), await textOf(store, "a")], [{ a: 1 }, "1"]);
  } finally {
    await store.close();
  }
});

Deno.test("RedisStore.putAlertDocuments(), removeAlertDocuments() and writeAlertState() write all or nothing", async () => {
  await using server = await startRedis();
  const store = await openAsUser(server);
  const rules = async () => (await store.alertDocuments())!.documents.map(({ id }) => id);
  const rule = (id: string) => ({ kind: "rule", id, body: "{}" }) as const;
  try {
    const refusedPut = await refusedWithout(
      server,
      () => store.putAlertDocuments([rule("a"), rule("b")]),
      async (command, wasRefused) => {
        assertEquals(await rules(), wasRefused ? [] : ["a", "b"], command);
        await store.removeAlertDocuments("rule", ["a", "b"]);
      },
    );
    await store.putAlertDocuments([rule("a"), rule("b")]);
    const refusedRemove = await refusedWithout(
      server,
      () => store.removeAlertDocuments("rule", ["a", "b"]),
      async (command, wasRefused) => {
        assertEquals(await rules(), wasRefused ? ["a", "b"] : [], command);
        await store.putAlertDocuments([rule("a"), rule("b")]);
      },
    );
    const entry = (field: string, body?: string) => ({ section: "incidents", field, body }) as const;
    await store.claimAlerts("me", 60_000, now);
    await store.writeAlertState("me", [entry("2", "x")], now);
    const refusedWrite = await refusedWithout(
      server,
      () => store.writeAlertState("me", [entry("1", "x"), entry("2", undefined)], now),
      async (command, wasRefused) => {
        const { entries } = (await store.alertState("incidents"))!;
        assertEquals([...entries.keys()], wasRefused ? ["2"] : ["1"], command);
        await store.writeAlertState("me", [entry("1", undefined), entry("2", "x")], now);
      },
    );
    for (const refused of [refusedPut, refusedRemove, refusedWrite]) {
      for (const command of ["set", "hset", "hdel"]) assert(refused.includes(command), command);
    }
  } finally {
    await store.close();
  }
});

Deno.test("RedisStore.setLabels() writes all or nothing", async () => {
  await using server = await startRedis();
  const store = await openAsUser(server);
  const nameOf = async (id: string) => (await store.labels([id])).get(id)?.name;
  try {
    let written = 0;
    const refused = await refusedWithout(
      server,
      () => {
        const name = `${++written}`, tags = new Map([["site", name]]);
        return store.setLabels([{ deviceId: "a", name, tags }, { deviceId: "b", name, notes: name }]);
      },
      async (command, wasRefused) => {
        const before = wasRefused ? undefined : `${written}`;
        assertEquals([await nameOf("a"), await nameOf("b")], [before, before], command);
        for (const deviceId of ["a", "b"]) {
          await store.setLabels([{ deviceId, name: "", notes: "", tags: new Map([["site", ""]]) }]);
        }
      },
    );
    for (const command of ["hset", "hdel"]) assert(refused.includes(command), `${command} of ${refused}`);
  } finally {
    await store.close();
  }
});
