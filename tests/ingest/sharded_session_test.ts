/**
 * Sessions over shards: streams, queues, writers and the shards are the real ones. Between the two, calls and replies are
 * lost or late, and processes stop in the middle of a batch.
 *
 * @module
 */
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";

import { shardOf } from "../../src/store/sharded/shard_of.ts";
import { shardedStore } from "../../src/store/sharded/sharded_store.ts";
import { countsOf } from "../support/batches.ts";
import { seededRandom } from "../support/random.ts";
import { type ShardedPlace, SHARDS, sqliteShards } from "../support/sharded_places.ts";
import { ShardedWorld, type ShardedWorldOptions } from "./sharded_world.ts";

/** Worlds that live at the same time, each in shards of its own. */
const AT_ONCE = 8;

type Shards = Awaited<ReturnType<ShardedPlace["openShards"]>>;

/** Runs a world; resolves to what its shards have counted, and what was sent, by device. */
async function runWorld(
  seed: number,
  optionsFor: (place: ShardedPlace, shards: Shards) => ShardedWorldOptions,
): Promise<[deviceId: string, counted: number, sent: number][]> {
  await using place = await sqliteShards();
  const shards = await place.openShards();
  try {
    const sent = await new ShardedWorld(seededRandom(seed), shards, optionsFor(place, shards)).run();
    const counted = await countsOf(shardedStore({ shards }));
    assertEquals(Object.keys(counted).filter((id) => !sent.has(id)), []);
    return [...sent].map(([id, packets]) => [id, counted[id] ?? 0, packets]);
  } finally {
    for (const shard of shards) await shard.close();
  }
}

/** Runs `body` with as many seeds as `WORLDS` states, or with `SEED` alone. */
async function forWorlds(worlds: number, body: (seed: number) => Promise<void>): Promise<void> {
  const only = Deno.env.get("SEED"), count = Number(Deno.env.get("WORLDS") ?? worlds);
  const first = only === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(only);
  const seeds = Array.from({ length: only === undefined ? count : 1 }, (_, i) => first + i);
  for (let done = 0; done < seeds.length; done += AT_ONCE) {
    await Promise.all(
      seeds.slice(done, done + AT_ONCE).map(async (seed) => {
        try {
          await body(seed);
        } catch (error) {
          throw new Error(`fails with SEED=${seed}: ${error instanceof Error ? error.stack : error}`);
        }
      }),
    );
  }
}

Deno.test("shardedStore(), model test: each packet is counted once, whatever is lost between the steps of a batch", async () => {
  await forWorlds(64, async (seed) => {
    for (const [id, counted, sent] of await runWorld(seed, () => ({}))) assertEquals(counted, sent, id);
  });
});

Deno.test("shardedStore(), model test: of a shard that goes back, no packet is counted twice, and the others have all", async () => {
  const back = 1;
  await forWorlds(48, async (seed) => {
    const found = await runWorld(seed, (place, shards) => {
      let putBack: (() => Promise<void>) | undefined;
      return {
        async goBack() {
          await shards[back]!.close();
          if (putBack === undefined) putBack = await place.snapshot(back);
          else await putBack();
          const opened = await place.openShards();
          shards[back] = opened[back]!;
          for (const shard of opened) if (shard !== shards[back]) await shard.close();
        },
      };
    });
    for (const [id, counted, sent] of found) {
      if (shardOf(id, SHARDS) === back) assertLessOrEqual(counted, sent, id);
      else assertEquals(counted, sent, id);
    }
  });
});

Deno.test("shardedStore(), model test: a shard that fences no session is found out", async () => {
  let wrong = 0;
  for (let seed = 1; seed <= 40 && wrong === 0; seed++) {
    const found = await runWorld(seed, () => ({ unfenced: 1 }));
    if (found.some(([, counted, sent]) => counted > sent)) wrong++;
  }
  assert(wrong > 0, "no world counts twice without the fence of a shard");
});
