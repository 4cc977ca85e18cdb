/**
 * Sessions over shards: streams, queues, writers and the shards are the real ones. Between the two, calls and replies are
 * lost or late, and processes stop in the middle of a batch.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";

import { shardedStore } from "../../src/store/sharded/sharded_store.ts";
import type { Store } from "../../src/store/store.ts";
import { countsOf } from "../support/batches.ts";
import { seededRandom } from "../support/random.ts";
import { sqliteShards } from "../support/sharded_places.ts";
import { ShardedWorld } from "./sharded_world.ts";

/** Worlds that live at the same time, each in shards of its own. */
const AT_ONCE = 8;

/** Runs a world; resolves to what its shards have counted, and what they must have. */
async function runWorld(seed: number, unfenced?: number) {
  await using place = await sqliteShards();
  const shards = await place.openShards();
  try {
    const fenceless = unfenced === undefined ? undefined : shards[unfenced];
    const expected = await new ShardedWorld(seededRandom(seed), shards, "session", fenceless).run();
    const sorted = [...expected].sort(([a], [b]) => a < b ? -1 : 1);
    const store = shardedStore({ shards: shards as [Store, ...Store[]] });
    return { counted: await countsOf(store), expected: Object.fromEntries(sorted) };
  } finally {
    for (const shard of shards) await shard.close();
  }
}

Deno.test("shardedStore(), model test: each packet is counted once, whatever is lost between the steps of a batch", async () => {
  const only = Deno.env.get("SEED"), worlds = only === undefined ? Number(Deno.env.get("WORLDS") ?? 64) : 1;
  const first = only === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(only);
  for (let done = 0; done < worlds; done += AT_ONCE) {
    const seeds = Array.from({ length: Math.min(AT_ONCE, worlds - done) }, (_, i) => first + done + i);
    await Promise.all(seeds.map(async (seed) => {
      try {
        const { counted, expected } = await runWorld(seed);
        assertEquals(counted, expected);
      } catch (error) {
        throw new Error(`fails with SEED=${seed}: ${error instanceof Error ? error.stack : error}`);
      }
    }));
  }
});

Deno.test("shardedStore(), model test: a shard that fences no session is found out", async () => {
  let wrong = 0;
  for (let seed = 1; seed <= 40 && wrong === 0; seed++) {
    const { counted, expected } = await runWorld(seed, 1);
    const total = (counts: Record<string, number>) =>
      Object.values(counts).reduce((sum, count) => sum + count, 0);
    if (total(counted) > total(expected)) wrong++;
  }
  assert(wrong > 0, "no world counts twice without the fence of a shard");
});
