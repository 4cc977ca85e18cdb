/**
 * Redis stores for tests.
 *
 * @module
 */
import { assertInstanceOf } from "@std/assert";
import { getLogger } from "@logtape/logtape";

import type { PayloadOptions } from "../../src/payload/payload_decoder.ts";
import type { AckAfter } from "../../src/store/packets.ts";
import { shardKeys } from "../../src/store/redis/keys.ts";
import { openRedisShards } from "../../src/store/redis/redis_store.ts";
import type { Store } from "../../src/store/store.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { numbered } from "./batches.ts";
import type { RedisServer } from "./redis_server.ts";
import { until } from "./until.ts";

const log = getLogger(["tally", "test"]);

/** What differs from `stored` and two seconds. */
export interface StoreSettings {
  /** As in the store's options. */
  readonly ackAfter?: AckAfter;
  /** As in the store's options. */
  readonly commandTimeoutMs?: number;
  /** As in the store's options. */
  readonly sentinelPassword?: string;
  /** As in the store's options. */
  readonly deferFrom?: number;
  /** As in the store's options; default: 16 names. */
  readonly values?: PayloadOptions | undefined;
}

/** A store on `server`; `shard`: one of many there. */
export async function openStore(
  { url, shard }: Pick<RedisServer, "url"> & {
    readonly shard?: { readonly shard: number; readonly shards: number };
  },
  {
    ackAfter = { kind: "stored" },
    commandTimeoutMs = 2000,
    sentinelPassword,
    deferFrom,
    values = { maxNames: 16 },
  }: StoreSettings = {},
): Promise<Store> {
  const options = {
    url,
    ackAfter,
    commandTimeoutMs,
    sentinelPassword,
    log,
    values,
    ...(deferFrom === undefined ? {} : { deferFrom }),
  };
  const stores = await openRedisShards(options, shard?.shards ?? 1);
  const [store] = stores.splice(shard?.shard ?? 0, 1);
  await Promise.all(stores.map((other) => other.close()));
  return store!;
}

/** Runs `body` with a store on `server`, and closes it. */
export async function withStore(
  server: RedisServer,
  body: (store: Store) => Promise<void>,
  settings?: StoreSettings,
): Promise<void> {
  const store = await openStore(server, settings);
  try {
    await body(store);
  } finally {
    await store.close();
  }
}

/** Calls again, as the writer does, until the store accepts it. */
export async function untilStored<T>(call: () => Promise<T>): Promise<T> {
  let result: { value: T } | undefined;
  await until(async () => {
    result = await call().then((value) => ({ value }), rejectedByStore);
    return result !== undefined;
  }, "the store accepts it");
  return result!.value;
}

function rejectedByStore(error: unknown): undefined {
  assertInstanceOf(error, StoreError);
}

/** A store that defers the packets of every device it knows; each batch is in the counts when `apply` resolves. */
export async function openDeferringStore(server: RedisServer): Promise<Store> {
  const store = await openStore(server, { deferFrom: 1 }), applying = numbered(store);
  return {
    ...store,
    async apply(batch) {
      const unapplied = await applying.apply(batch);
      await untilCounted(server);
      return unapplied;
    },
  };
}

/** Waits until no segment log holds packets that are not counted. */
export async function untilCounted(server: RedisServer): Promise<void> {
  await until(async () => await server.call("EXISTS", shardKeys().logs) === 0, "all packets are counted");
}

/** Fields and values of a hash. */
export async function hashAt(server: RedisServer, key: string): Promise<Record<string, string>> {
  const list = await server.call("HGETALL", key) as string[];
  return Object.fromEntries(list.flatMap((field, i) => i % 2 === 0 ? [[field, list[i + 1]!]] : []));
}
