/**
 * Opens the store of the settings: Redis, or a SQLite file.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import { type Config, configuredRedis, configuredShards } from "./config/config.ts";
import { assertFilesAllowed } from "./file_permissions.ts";
import { payloadDecoder, type PayloadOptions } from "./payload/payload_decoder.ts";
import { messageOf } from "./runtime/error_text.ts";
import type { RedisStoreOptions } from "./store/redis/redis_client.ts";
import { formatTarget, parseRedisUrl } from "./store/redis/redis_url.ts";
import { openRedisShards } from "./store/redis/redis_store.ts";
import { shardedStore } from "./store/sharded/sharded_store.ts";
import { openSqliteThreads } from "./store/sqlite/threads.ts";
import type { Store } from "./store/store.ts";

/** Opens the store; `program` and its `args` are for the command in the error when its files are not allowed. */
export async function openStore(
  config: Config,
  args: readonly string[],
  log: Logger,
  program = "src/main.ts",
): Promise<Store> {
  const { ackAfter, databasePath, storeTimeoutMs } = config;
  const values = await valueOptions(config);
  const redis = configuredRedis(config);
  assertFilesAllowed(config, args, program);
  const store = redis === undefined
    ? await openSqliteThreads({
      path: databasePath,
      deferFrom: config.deferFrom,
      ackAfter,
      lockTimeoutMs: storeTimeoutMs,
      values,
      log: log.getChild("store"),
    })
    : await openRedis({
      url: redis,
      tlsCa: config.redisTlsCa === undefined ? undefined : await readTlsCa(config.redisTlsCa),
      sentinelPassword: config.redisSentinelPassword,
      natMap: config.redisNatMap,
      deferFrom: config.deferFrom,
      values,
      ackAfter,
      commandTimeoutMs: storeTimeoutMs,
      log: log.getChild("store"),
    }, configuredShards(config));
  const toChange = redis === undefined
    ? "set REDIS_URL or REDIS_HOST for Redis, TALLY_DB for another file"
    : "unset REDIS_URL and REDIS_HOST for a SQLite file";
  log.info("store open", { store: store.description, toChange });
  return store;
}

/** How payloads are decoded; undefined: values are not kept. Throws where the schema cannot be read. */
async function valueOptions(config: Config): Promise<PayloadOptions | undefined> {
  const { keepsValues, maxValuesPerDevice: maxNames, payloadProto } = config;
  if (!keepsValues) return undefined;
  if (payloadProto === undefined) return { maxNames };
  const { path, message } = payloadProto;
  try {
    const options = { maxNames, schema: { text: await Deno.readTextFile(path), message } };
    await payloadDecoder(options);
    return options;
  } catch (cause) {
    throw new Error(
      `Cannot use TALLY_PAYLOAD_PROTO, the message ${message} of ${path}: ${messageOf(cause)}; ` +
        `expected a .proto file with that message, which imports no other file`,
      { cause },
    );
  }
}

async function openRedis(options: RedisStoreOptions, shards: number): Promise<Store> {
  const [first, ...others] = await openRedisShards(options, shards);
  if (others.length === 0) return first!;
  const description = `Redis at ${formatTarget(parseRedisUrl(options.url)!)} in ${shards} shards`;
  return { ...shardedStore({ shards: [first!, ...others] }), description };
}

async function readTlsCa(path: string): Promise<string> {
  try {
    const pem = await Deno.readTextFile(path);
    if (pem.includes("-----BEGIN CERTIFICATE-----")) return pem;
  } catch (cause) {
    throw new Error(`Cannot read TALLY_REDIS_TLS_CA: ${messageOf(cause)}`, { cause });
  }
  throw new Error(`Cannot use TALLY_REDIS_TLS_CA: found no certificate in ${path}; expected a PEM file`);
}
