/**
 * Counts in Redis. What is kept is named in `keys.ts`; each method that writes is one script, one atomic step.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import { payloadDecoder } from "../../payload/payload_decoder.ts";
import { ForeignCounts } from "../model/foreign_counts.ts";
import { noValues } from "../model/no_values.ts";
import type { FoldOptions } from "../model/sample_fold.ts";
import { DEFER_FROM } from "../packets.ts";
import type { Store, StoreStatus } from "../store.ts";
import { redisAlerts } from "./alerts.ts";
import { redisAudit } from "./audit.ts";
import { redisCredentials } from "./credentials.ts";
import { DeferredPackets } from "./deferred_packets.ts";
import { redisDevices } from "./devices.ts";
import { redisEvents } from "./events.ts";
import { redisHistories } from "./histories.ts";
import { redisInstances } from "./instances.ts";
import { redisLabels } from "./labels.ts";
import { redisPacketStream } from "./packet_stream.ts";
import { redisPackets } from "./packets.ts";
import { RedisClient, type RedisStoreOptions } from "./redis_client.ts";
import { SampleFolder } from "./sample_folder.ts";
import { logsScript, probeScript } from "./scripts.ts";
import { parseInfo } from "./server_info.ts";
import { ShardConnections } from "./shard_connections.ts";
import { redisValues } from "./values.ts";

/** How long a store that closes goes on counting what was deferred. */
const CLOSE_TIMEOUT_MS = 10_000;

/**
 * A store on the Redis at `url`. Resolves also when Redis cannot be reached: the connection is then retried for
 * ever, and every method rejects until it replies. Data of an older layout is upgraded.
 *
 * @throws {StoreError} Redis replies, but cannot do what `ackAfter` requires, does not have the database, is part
 * of a cluster although the URL is not of one, or holds data of a newer layout or of another number of shards.
 */
export async function openRedisStore(options: RedisStoreOptions): Promise<Store> {
  const [store] = await openRedisShards(options, 1);
  return store!;
}

/**
 * As {@linkcode openRedisStore}, so many stores, each of which has one of the shards. Those of a cluster are spread over
 * its masters. Each has connections of its own; what watches the cluster or the sentinels is closed with the last.
 */
export async function openRedisShards(options: RedisStoreOptions, shards: number): Promise<Store[]> {
  const connections = new ShardConnections(options, shards);
  const clients = Array.from({ length: shards }, (_, shard) => new RedisClient(options, connections, shard));
  const open = new Set(clients);
  const close = async (client: RedisClient) => {
    await client.close();
    open.delete(client);
    if (open.size === 0) await connections.close();
  };
  const opened = await Promise.allSettled(clients.map((client) => client.open(options.commandTimeoutMs)));
  const refused = opened.find((result) => result.status === "rejected");
  if (refused !== undefined) {
    await Promise.all(clients.map(close));
    throw refused.reason;
  }
  const { values } = options, decode = values && await payloadDecoder(values);
  const fold = values && decode && { decode, maxNames: values.maxNames };
  // A shard has its part of each batch.
  const deferFrom = Math.ceil((options.deferFrom ?? DEFER_FROM) / shards);
  return clients.map((client) => storeOf(client, { ...options, deferFrom }, fold, () => close(client)));
}

function storeOf(
  client: RedisClient,
  { log, deferFrom }: RedisStoreOptions & { readonly deferFrom: number },
  fold: FoldOptions | undefined,
  close: () => Promise<void>,
): Store {
  const foreign = new ForeignCounts(client.keys.counts, log);
  const deferred = new DeferredPackets(client, foreign, deferFrom, log);
  const folder = fold && new SampleFolder(client, fold, log);
  return {
    description: `Redis at ${client.address}`,
    ...redisPackets(client, foreign, deferred),
    ...redisPacketStream(client),
    ...redisDevices(client, foreign),
    ...redisHistories(client),
    ...folder === undefined ? noValues : redisValues(client, folder),
    ...redisEvents(client),
    ...redisInstances(client),
    ...redisCredentials(client),
    ...redisAudit(client),
    ...redisLabels(client),
    ...redisAlerts(client),

    async ping() {
      await client.checkServer();
      await client.write("write a probe", probeScript, [client.keys.probe], []);
      deferred.adopt();
      folder?.start();
    },

    status: () => readStatus(client),

    async close() {
      await deferred.close(CLOSE_TIMEOUT_MS);
      await folder?.close();
      await close();
    },
  };
}

async function readStatus(client: RedisClient): Promise<StoreStatus> {
  const [[time], info, devices, logs] = await Promise.all([
    client.send("read the clock", ["time"]),
    // The user may lack the permission.
    client.send("read what it evicts", ["info", "memory"]).catch(() => [""]),
    client.send("count the devices", ["hlen", client.keys.counts]).catch(() => []),
    client.read("read how late counts are", logsScript, [client.keys.logs], []).catch(() => []),
  ]) as [[[Buffer, Buffer]], unknown[], [number?], Buffer[]];
  const [seconds, microseconds] = time.map(Number) as [number, number];
  const clockMs = seconds * 1000 + Math.floor(microseconds / 1000);
  const { evictionPolicy, memoryBytes } = parseInfo(String(info[0]));
  const countsLateMs = Math.max(0, clockMs - (oldestIn(logs) ?? clockMs));
  return { clockMs, evictionPolicy, address: client.server, memoryBytes, devices: devices[0], countsLateMs };
}

/** When the oldest packets in logs were received, by the fields and values of the hash of logs. */
function oldestIn(logs: readonly Buffer[]): number | undefined {
  let oldest: number | undefined;
  for (let i = 1; i < logs.length; i += 2) {
    const since = Number(logs[i]!.toString().split(" ")[1]);
    if (since > 0 && (oldest === undefined || since < oldest)) oldest = since;
  }
  return oldest;
}
