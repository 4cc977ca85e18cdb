/**
 * Empty places for stores of three shards.
 *
 * @module
 */
import { shardedStore } from "../../src/store/sharded/sharded_store.ts";
import { shardOf } from "../../src/store/sharded/shard_of.ts";
import { VersionNumbers } from "../../src/store/sharded/versions.ts";
import type { Store } from "../../src/store/store.ts";
import { StoreError } from "../../src/store/store_error.ts";
import type { StorePlace } from "../contracts/store_contract.ts";
import { startRedis } from "./redis_server.ts";
import { openStoreAt, type StoreLocation } from "./store_location.ts";

/** Shards of each place. */
export const SHARDS = 3;

/** A place, and its shards one by one. */
export interface ShardedPlace extends StorePlace {
  /** Of one shard, or of all. */
  snapshot(only?: number): Promise<() => Promise<void>>;
  /** Opens each shard once more. */
  openShards(): Promise<[Store, ...Store[]]>;
}

/** Three SQLite files in a folder of their own. */
export async function sqliteShards(): Promise<ShardedPlace> {
  const dir = await Deno.makeTempDir({ prefix: "tally-shards-" });
  const folders = Array.from({ length: SHARDS }, (_, i) => `shard-${i}`);
  const copyAll = async (from: string, to: string, only?: number) => {
    for (const folder of only === undefined ? folders : [folders[only]!]) {
      await Deno.remove(`${to}/${folder}`, { recursive: true }).catch(() => {});
      await Deno.mkdir(`${to}/${folder}`, { recursive: true });
      const files = await Array.fromAsync(Deno.readDir(`${from}/${folder}`)).catch(() => []);
      for (const { name } of files) {
        await Deno.copyFile(`${from}/${folder}/${name}`, `${to}/${folder}/${name}`);
      }
    }
  };
  return {
    ...placeOf(folders.map((folder) => ({ kind: "sqlite", path: `${dir}/${folder}/tally.db` }))),
    async snapshot(only) {
      const copy = await Deno.makeTempDir({ dir });
      await copyAll(dir, copy, only);
      return () => copyAll(copy, dir, only);
    },
    [Symbol.asyncDispose]: () => Deno.remove(dir, { recursive: true }),
  };
}

/** Keys of three shards in one Redis. */
export async function redisShards(): Promise<ShardedPlace> {
  const server = await startRedis();
  return {
    ...placeOf(Array.from({ length: SHARDS }, (_, shard) => (
      { kind: "redis", url: server.url, shard: { shard, shards: SHARDS } }
    ))),
    snapshot: () => server.snapshot(),
    [Symbol.asyncDispose]: () => server.stop(),
  };
}

/** Its stores share the numbers of versions, as the readers of one process do. */
function placeOf(shards: readonly StoreLocation[]) {
  const versions = new VersionNumbers();
  const openShards = async () => {
    const [first, ...others] = await Promise.all(shards.map(openStoreAt));
    return [first!, ...others] as [Store, ...Store[]];
  };
  return {
    location: { kind: "sharded", shards } as const,
    openShards,
    open: async () => shardedStore({ shards: await openShards(), versions }),
  };
}

/** `shard`, whose calls reject while `isDown`: a fault that the test injects. */
export function failing(shard: Store, state: { readonly isDown: boolean }): Store {
  return new Proxy(shard, {
    get(shard, name: keyof Store) {
      const member = shard[name];
      if (typeof member !== "function") return member;
      return (...args: unknown[]) => {
        const error = new StoreError("a fault that the test injects");
        if (state.isDown) {
          return name === "scan" || name === "scanLabels" ? failingScan(error) : Promise.reject(error);
        }
        return (member as (...args: unknown[]) => unknown).apply(shard, args);
      };
    },
  });
}

// deno-lint-ignore require-yield
async function* failingScan(error: StoreError): AsyncGenerator<never> {
  throw error;
}

/** A device of each shard. */
export const shardDevices: readonly string[] = Array.from({ length: SHARDS }, (_, shard) => {
  for (let i = 0;; i++) if (shardOf(`device ${i}`, SHARDS) === shard) return `device ${i}`;
});
