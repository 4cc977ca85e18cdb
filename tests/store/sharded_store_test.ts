/**
 * The store of several shards: the contract, what it has in place of limits of the whole, and its steps.
 *
 * @module
 */
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";

import type { Batch } from "../../src/store/packets.ts";
import { shardOf } from "../../src/store/sharded/shard_of.ts";
import { shardedStore } from "../../src/store/sharded/sharded_store.ts";
import type { Store } from "../../src/store/store.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { testStoreContract } from "../contracts/store_contract.ts";
import { advance, batch, countsOf, delta, now } from "../support/batches.ts";
import { redisShards, SHARDS, sqliteShards } from "../support/sharded_places.ts";

testStoreContract("3 SQLite shards", sqliteShards, { shards: SHARDS });
testStoreContract("3 shards in Redis", redisShards, { shards: SHARDS });

/** The first few ids that are in a shard. */
function idsIn(shard: number, count: number, prefix = "device"): string[] {
  const ids: string[] = [];
  for (let i = 0; ids.length < count; i++) {
    if (shardOf(`${prefix} ${i}`, SHARDS) === shard) ids.push(`${prefix} ${i}`);
  }
  return ids;
}

/** Runs `body` with the shards and a store of them. */
async function withShards(body: (shards: [Store, ...Store[]], store: Store) => Promise<void>): Promise<void> {
  await using place = await sqliteShards();
  const shards = await place.openShards();
  try {
    await body(shards, shardedStore({ shards }));
  } finally {
    for (const shard of shards) await shard.close();
  }
}

Deno.test("shardOf() never changes, for any text", () => {
  assertEquals(["", "a", "foobar", "température", "🌡️"].map((id) => shardOf(id, 2 ** 32)), [
    ...[0x811c9dc5, 0xe40c292c, 0xbf9cf968],
    ...["température", "🌡️"].map(fnv1a),
  ]);
  const counts = [0, 0, 0];
  for (let i = 0; i < 30_000; i++) counts[shardOf(`device-${i}`, 3)]!++;
  for (const count of counts) assert(Math.abs(count - 10_000) < 500, `${counts}`);
});

/** As its authors state it. */
function fnv1a(text: string): number {
  let hash = 2166136261n;
  for (const byte of new TextEncoder().encode(text)) hash = (hash ^ BigInt(byte)) * 16777619n % 2n ** 32n;
  return Number(hash);
}

Deno.test("shardedStore().apply() divides maxDevices among the shards, and repeats a refusal", async () => {
  await withShards(async (shards, store) => {
    const ids = Array.from({ length: 90 }, (_, i) => `device ${i}`);
    const limited = (sequence: number, maxDevices: number): Batch => ({
      ...batch(sequence, { devices: ids.map((id) => delta(id, 1)) }),
      deviceLimits: { maxDevices, maxNewPerMinute: Number.MAX_SAFE_INTEGER },
    });
    const refused = await store.apply(limited(1, 30));
    assertEquals(await store.apply(limited(1, 30)), refused);
    assertEquals(await shardedStore({ shards }).apply(limited(1, 30)), refused);
    assertEquals(Object.keys(await countsOf(store)).length + refused.length, 90);
    for (const shard of shards) assertEquals(Object.keys(await countsOf(shard)).length, 10);
    // Those that are there are never refused.
    const again = await store.apply(limited(2, 3));
    assertEquals(again.length, refused.length);
    assertEquals(new Set(Object.values(await countsOf(store))), new Set([2]));
  });
});

Deno.test("shardedStore().claimSession() divides maxSessions among the shards, and refuses no known one", async () => {
  await withShards(async (_shards, store) => {
    const limits = { maxSessions: 30, mayCreate: true };
    const claim = async (i: number) =>
      (await store.claimSession(`s ${i}`, 0, now, undefined, limits)).refused === undefined;
    const made: number[] = [];
    for (let i = 0; i < 200; i++) if (await claim(i)) made.push(i);
    assertLessOrEqual(made.length, 60);
    assertLessOrEqual(30, made.length);
    for (const i of made) assert(await claim(i));
  });
});

Deno.test("shardedStore().apply(): a stream superseded between check and apply adds nothing to the session's home", async () => {
  await withShards(async (shards, store) => {
    const [session] = idsIn(0, 1, "session") as [string];
    const [atHome] = idsIn(0, 1) as [string], [elsewhere] = idsIn(1, 1) as [string];
    const reached = Promise.withResolvers<void>(), released = Promise.withResolvers<void>();
    const slow = shards.map((shard) => ({
      ...shard,
      claimSession: async (...args: Parameters<Store["claimSession"]>) => {
        reached.resolve();
        await released.promise;
        return await shard.claimSession(...args);
      },
    })) as [Store, ...Store[]];
    const old = await store.claimSession(session, 0, now);
    // Checked, and about to claim the parts.
    const late = shardedStore({ shards: slow }).apply(batch(1, {
      devices: [delta(atHome, 2), delta(elsewhere, 2)],
      sessions: [advance(session, old.epoch, 0, 4)],
    }));
    await reached.promise;
    const { epoch, shards: parts } = await store.claimSession(session, 0, now);
    released.resolve();
    assertEquals((await late).map((found) => found.kind), ["superseded"]);
    const first = {
      ...advance(session, epoch, 0, 2),
      shards: parts,
      deltas: [{ deviceId: atHome }],
    };
    const sent = { ...batch(1, { devices: [delta(atHome, 2)], sessions: [first] }), producer: "q" };
    assertEquals(await store.apply(sent), []);
    assertEquals((await store.device(atHome))?.count, 2);
    // The other shard has what the older stream added: the newer one has to claim again, and leaves it out.
    const next = {
      ...advance(session, epoch, 2, 4),
      shards: parts,
      deltas: [{ deviceId: elsewhere }],
    };
    const second = batch(2, { devices: [delta(elsewhere, 2)], sessions: [next] });
    assertEquals(await store.apply({ ...second, producer: "q" }), [{
      session,
      kind: "reverted",
      committed: 2,
    }]);
    const again = await store.claimSession(session, 2, now);
    assertEquals([again.committed, again.shards?.end, again.shards?.offsetOf(elsewhere)], [2, 4, 4]);
    assertEquals((await store.device(elsewhere))?.count, 2);
  });
});

Deno.test("shardedStore() of which a shard went back: what it lost is counted once more if it is sent again, and nothing else", async () => {
  await using place = await sqliteShards();
  const [atHome] = idsIn(0, 1) as [string];
  const ids = [atHome, one, two];
  const deltas = () => ids.map((id) => delta(id, 1));
  const run = async (sequence: number, body: (store: Store, shards: readonly Store[]) => Promise<void>) => {
    const shards = await place.openShards();
    try {
      await body(shardedStore({ shards }), shards);
    } finally {
      for (const shard of shards) await shard.close();
    }
    return sequence;
  };
  // Packets 0, 1 and 2 are of the three devices, and so on.
  const send = async (store: Store, from: number, to: number, producer: string) => {
    const { epoch, committed, shards: parts } = await store.claimSession(home, from, now);
    assertEquals(committed, from);
    const packets = ids.map((id, i) => {
      let count = 0;
      for (let index = from; index < to; index++) {
        if (index % 3 === i && index >= parts!.offsetOf(id)) count++;
      }
      return delta(id, count);
    }).filter((device) => device.packets > 0);
    const sent = batch(1, {
      devices: packets,
      sessions: [{ ...advance(home, epoch, from, to), shards: parts }],
    });
    return await store.apply({ ...sent, producer });
  };
  await run(1, async (store) => assertEquals(await send(store, 0, 6, "first"), []));
  const putBack = await place.snapshot(1);
  await run(2, async (store) => {
    const { epoch, shards: parts } = await store.claimSession(home, 6, now);
    const about = (from: number, to: number, ...only: string[]) => [{
      ...{ ...advance(home, epoch, from, to), shards: parts },
      deltas: (only.length > 0 ? only : ids).map((deviceId) => ({ deviceId })),
    }];
    assertEquals(await store.apply(batch(1, { devices: deltas(), sessions: about(6, 9) })), []);
    // The part of the home shard is no longer up to the committed offset.
    const own = batch(2, { devices: [delta(atHome, 1)], sessions: about(9, 10, atHome) });
    assertEquals(await store.apply(own), []);
    await putBack();
    const reopened = await place.openShards();
    const again = shardedStore({ shards: reopened });
    const next = batch(3, { devices: [delta(one, 1)], sessions: about(10, 11, one) });
    assertEquals(await again.apply(next), [
      { session: home, kind: "reverted", committed: 6 },
    ]);
    for (const shard of reopened) await shard.close();
  });
  await run(3, async (store) => {
    assertEquals(await countsOf(store), { [atHome]: 4, [one]: 2, [two]: 3 });
    assertEquals(await send(store, 6, 11, "second"), []);
    assertEquals(await countsOf(store), { [atHome]: 4, [one]: 4, [two]: 3 });
    assertEquals((await store.claimSession(home, 0, now)).committed, 11);
  });
});

/** Shards of which the last applies nothing while `isDown`; `calls`: which were to apply something. */
function withFailing(shards: readonly Store[]) {
  const state = { isDown: true, calls: [] as number[] };
  const failing = shards.map((shard, i) => ({
    ...shard,
    apply: (sent: Batch) => {
      state.calls.push(i);
      if (i === SHARDS - 1 && state.isDown) return Promise.reject(new StoreError("it is down"));
      return shard.apply(sent);
    },
  })) as [Store, ...Store[]];
  return { state, store: shardedStore({ shards: failing }) };
}

const home = idsIn(0, 1, "session")[0]!, one = idsIn(1, 1)[0]!, two = idsIn(2, 1)[0]!;

Deno.test("shardedStore().apply() tries a shard that failed again, and those that have applied no more", async () => {
  await withShards(async (shards, store) => {
    const { state, store: ingest } = withFailing(shards);
    const { epoch, shards: parts } = await ingest.claimSession(home, 0, now);
    const sent = batch(1, {
      devices: [delta(one, 1), delta(two, 1)],
      sessions: [{ ...advance(home, epoch, 0, 2), shards: parts }],
    });
    await assertStoreError(ingest.apply(sent));
    await assertStoreError(ingest.apply(sent));
    state.isDown = false;
    state.calls = [];
    assertEquals(await ingest.apply(sent), []);
    assertEquals(state.calls, [2, 0]);
    assertEquals(await countsOf(store), { [one]: 1, [two]: 1 });
    assertEquals((await store.claimSession(home, 0, now)).committed, 2);
  });
});

Deno.test("shardedStore().claimSession() returns what shards have beyond the committed offset", async () => {
  await withShards(async (shards, store) => {
    const { store: ingest } = withFailing(shards);
    const { epoch, shards: parts } = await ingest.claimSession(home, 0, now);
    const sent = batch(1, {
      devices: [delta(one, 1), delta(two, 1)],
      sessions: [{ ...advance(home, epoch, 0, 2), shards: parts }],
    });
    await assertStoreError(ingest.apply(sent));
    const claim = await store.claimSession(home, 0, now);
    assertEquals(claim.committed, 0);
    assertEquals([one, two].map((id) => claim.shards?.offsetOf(id)), [2, 0]);
    const rest = batch(1, {
      devices: [delta(two, 1)],
      sessions: [{ ...advance(home, claim.epoch, 0, 2), shards: claim.shards }],
    });
    assertEquals(await store.apply({ ...rest, producer: "q" }), []);
    assertEquals(await countsOf(store), { [one]: 1, [two]: 1 });
    // One more of the same session, which is continued under another name: with what the shards have.
    const other = await store.claimSession("me", 0, now, home);
    assertEquals([other.committed, other.lost], [2, 0]);
  });
});

Deno.test("shardedStore().claimSession() of a session that continues another has what the shards have beyond it", async () => {
  await withShards(async (shards, store) => {
    const { store: ingest } = withFailing(shards);
    const { epoch, shards: parts } = await ingest.claimSession(home, 0, now);
    const devices = [delta(one, 1), delta(two, 1)];
    const sessions = [{ ...advance(home, epoch, 0, 2), shards: parts }];
    await assertStoreError(ingest.apply(batch(1, { devices, sessions })));
    await store.claimSession("me", 0, now, home);
    const claim = await store.claimSession("me", 0, now, home);
    assertEquals([claim.committed, claim.isNew], [0, false]);
    assertEquals([one, two].map((id) => claim.shards?.offsetOf(id)), [2, 0]);
  });
});

async function assertStoreError(call: Promise<unknown>): Promise<void> {
  const error = await call.then(() => undefined, (error) => error);
  assert(error instanceof StoreError, `rejects with ${error}`);
}
