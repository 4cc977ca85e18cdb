/**
 * Counts in Redis. What is kept is named in `keys.ts`; each method that writes is one script, one atomic step.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import { ForeignCounts } from "../model/foreign_counts.ts";
import type { Store, StoreStatus } from "../store.ts";
import { redisAudit } from "./audit.ts";
import { redisCredentials } from "./credentials.ts";
import { redisDevices } from "./devices.ts";
import { redisEvents } from "./events.ts";
import { redisHistories } from "./histories.ts";
import { redisInstances } from "./instances.ts";
import { type ShardKeys, shardKeys } from "./keys.ts";
import { redisPackets } from "./packets.ts";
import { RedisClient, type RedisStoreOptions } from "./redis_client.ts";
import { probeScript } from "./scripts.ts";
import { parseInfo } from "./server_info.ts";

/**
 * A store on the Redis at `url`. Resolves also when Redis cannot be reached: the connection is then retried for
 * ever, and every method rejects until it replies. Data of an older layout is upgraded.
 *
 * `keys`: of the shard, if it is one of many.
 *
 * @throws {StoreError} Redis replies, but cannot do what `ackAfter` requires, does not have the database, is part
 * of a cluster, or holds data of a newer layout.
 */
export async function openRedisStore(
  options: RedisStoreOptions,
  keys: ShardKeys = shardKeys(),
): Promise<Store> {
  const client = new RedisClient(options, keys);
  try {
    await client.open(options.commandTimeoutMs);
  } catch (refusal) {
    await client.close();
    throw refusal;
  }
  const foreign = new ForeignCounts(client.keys.counts, options.log);
  return {
    description: `Redis at ${client.address}`,
    ...redisPackets(client, foreign),
    ...redisDevices(client, foreign),
    ...redisHistories(client),
    ...redisEvents(client),
    ...redisInstances(client),
    ...redisCredentials(client),
    ...redisAudit(client),

    async ping() {
      await client.checkServer();
      await client.write("write a probe", probeScript, [client.keys.probe], []);
    },

    status: () => readStatus(client),
    close: () => client.close(),
  };
}

async function readStatus(client: RedisClient): Promise<StoreStatus> {
  const [[time], info] = await Promise.all([
    client.send("read the clock", ["time"]),
    // The user may lack the permission.
    client.send("read what it evicts", ["info", "memory"]).catch(() => [""]),
  ]) as [[[Buffer, Buffer]], unknown[]];
  const [seconds, microseconds] = time.map(Number) as [number, number];
  const clockMs = seconds * 1000 + Math.floor(microseconds / 1000);
  return { clockMs, evictionPolicy: parseInfo(String(info[0])).evictionPolicy };
}
