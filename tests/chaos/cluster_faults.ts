/** @module */
import { setTimeout as delay } from "node:timers/promises";

import { shardKeys } from "../../src/store/redis/keys.ts";
import type { Random } from "../support/random.ts";
import { type ClusterPlace, SHARDS } from "./cluster_place.ts";
import { connectionFaults } from "./redis_faults.ts";
import type { Fault, Scene } from "./scene.ts";

/** All kinds of faults of a Redis Cluster and of the way to it. */
export function clusterFaults(place: ClusterPlace, scene: Scene): Fault[] {
  return [...nodeFaults(place, scene), ...connectionFaults(place, scene), cutOff(place, scene)];
}

/** How old a state is that the cluster is put back to. */
const MIN_AGE_MS = 2000, MAX_AGE_MS = 6000;

/** One at a time, and the next when the cluster is whole: of two nodes that have the same slots one must be left. */
function nodeFaults(place: ClusterPlace, scene: Scene): Fault[] {
  const { cluster } = place;
  let changing: Promise<unknown> = Promise.resolve();
  const inTurn = (name: string, damage: (random: Random) => Promise<unknown>): Fault => ({
    name,
    inject: async (random) => {
      const done = changing.then(() => damage(random)).then(() => cluster.untilHealthy());
      changing = done.catch(() => {});
      await done;
      return true;
    },
  });
  const ofShard = (name: string, damage: (slot: number, random: Random) => Promise<unknown>): Fault =>
    inTurn(name, (random) => {
      const { slot } = shardKeys(random.int(0, SHARDS - 1), SHARDS);
      return scene.lock.shared(async () => {
        await damage(slot, random);
        // Faults that are injected alone expect that the store works.
        await cluster.untilHealthy();
      });
    });
  return [
    ofShard("kill -9 a master", async (slot, random) => {
      const { server } = await cluster.master(slot);
      await server.kill9();
      await scene.pause(random.int(0, 5000));
      await server.start();
    }),
    ofShard("kill -9 a master until its replica takes over", async (slot) => {
      const { server } = await cluster.master(slot);
      await server.kill9();
      await cluster.untilServed(slot, server);
      await server.start();
    }),
    ofShard("SIGSTOP a master", async (slot, random) => {
      const { server } = await cluster.master(slot);
      server.pause();
      await delay(random.int(100, 6000));
      server.resume();
    }),
    ofShard("CLUSTER FAILOVER", (slot) => cluster.failover(slot)),
    ofShard("move a slot", async (slot, random) => {
      try {
        const move = await cluster.beginMove(slot);
        while (random.chance(0.7) && await cluster.moveKeys(slot, move, random.int(1, 20)) > 0) {
          await delay(random.int(0, 300));
        }
        await cluster.endMove(slot, move);
      } catch {
        // On a busy machine a node may take another for failed in the middle, and refuse.
        await cluster.repairMoves();
      }
    }),
    inTurn("put the cluster back to an earlier state", async (random) => {
      // Without Tally: the states of all shards are of one moment.
      const putBack = await scene.lock.alone(() => place.snapshot());
      if (await scene.pause(random.int(MIN_AGE_MS, MAX_AGE_MS))) await scene.loseDataAlone(putBack);
    }),
    inTurn("put one shard alone back to an earlier state", async (random) => {
      const putBack = await scene.lock.alone(() => place.snapshotShard(random.int(0, SHARDS - 1)));
      if (await scene.pause(random.int(MIN_AGE_MS, MAX_AGE_MS))) await scene.loseDataAlone(putBack);
    }),
    { ...inTurn("FLUSHALL", () => scene.loseDataAlone(() => cluster.clear())), emptiesStore: true },
  ];
}

/** A network that lets an ingest reach the other masters. */
function cutOff({ cluster, cutOff, proxiesOf }: ClusterPlace, scene: Scene): Fault {
  return {
    name: "cut an ingest off from a node",
    async inject(random) {
      const ingest = random.int(0, cutOff.length - 1), node = random.int(0, cluster.servers.length - 1);
      const { port } = cluster.servers[node]!;
      if (cutOff[ingest]!.has(port)) return false;
      cutOff[ingest]!.add(port);
      proxiesOf[ingest]![node]!.cut();
      await scene.pause(random.int(500, 6000));
      cutOff[ingest]!.delete(port);
      return true;
    },
  };
}
