/**
 * Which keys the shards of a Redis store have.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";

import { CLUSTER_SLOTS, clusterSlot } from "../../src/store/redis/cluster_slots.ts";
import { shardKeys } from "../../src/store/redis/keys.ts";
import { startRedis } from "../support/redis_server.ts";

Deno.test("clusterSlot() is the slot that Redis computes", async () => {
  await using server = await startRedis({ "cluster-enabled": "yes" });
  for (const tag of ["", "device_metrics", "0-12", "123456789"]) {
    assertEquals(clusterSlot(tag), await server.call("CLUSTER", "KEYSLOT", tag), tag);
  }
  for (const keys of [shardKeys(), shardKeys(2, 3)]) {
    for (const key of [keys.counts, keys.layout, keys.session("a}{b"), keys.fleet("hour", 0)]) {
      assertEquals(await server.call("CLUSTER", "KEYSLOT", key), keys.slot, key);
    }
  }
});

Deno.test("shardKeys(): one shard has the plain names, and others have a tag of their own", () => {
  assertEquals(shardKeys().counts, "device_metrics");
  assertEquals(shardKeys().layout, "tally:{device_metrics}:layout");
  // They are what is stored: other names would be other data.
  assertEquals([0, 1, 2].map((shard) => shardKeys(shard, 3).counts), [
    "device_metrics:{0-12}",
    "device_metrics:{1-1}",
    "device_metrics:{2-13}",
  ]);
  assertEquals(shardKeys(1, 3).session("s"), "tally:{1-1}:session:s");
});

Deno.test("shardKeys() spreads shards over the slots as evenly as masters are", () => {
  for (const shards of [2, 3, 12, 100, 256]) {
    for (let shard = 0; shard < shards; shard++) {
      const at = shardKeys(shard, shards).slot * shards / CLUSTER_SLOTS;
      assert(at >= shard + 0.25 && at < shard + 0.75, `shard ${shard} of ${shards}: ${at}`);
    }
  }
});
