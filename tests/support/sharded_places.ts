/**
 * Empty places for stores of three shards.
 *
 * @module
 */
import { VersionNumbers } from "../../src/store/sharded/versions.ts";
import { shardedStore } from "../../src/store/sharded/sharded_store.ts";
import type { Store } from "../../src/store/store.ts";
import type { StorePlace } from "../contracts/store_contract.ts";
import { openStoreAt } from "./store_location.ts";

/** Shards of each place. */
export const SHARDS = 3;

/** Three SQLite files in a folder of their own. Its stores share versions, as the readers of one process do. */
export async function sqliteShards(): Promise<StorePlace & { openShards(): Promise<Store[]> }> {
  const dir = await Deno.makeTempDir({ prefix: "tally-shards-" });
  const paths = Array.from({ length: SHARDS }, (_, i) => `${dir}/shard-${i}/tally.db`);
  const shards = paths.map((path) => ({ kind: "sqlite", path } as const));
  const versions = new VersionNumbers();
  const openShards = () => Promise.all(shards.map(openStoreAt));
  return {
    location: { kind: "sharded", shards },
    openShards,
    async open() {
      const [first, ...others] = await openShards();
      return shardedStore({ shards: [first!, ...others], versions });
    },
    async snapshot() {
      const copy = await Deno.makeTempDir({ dir });
      const move = async (from: string, to: string) => {
        for (const i of paths.keys()) {
          await Deno.remove(`${to}/shard-${i}`, { recursive: true }).catch(() => {});
          await Deno.mkdir(`${to}/shard-${i}`, { recursive: true });
          const files = await Array.fromAsync(Deno.readDir(`${from}/shard-${i}`)).catch(() => []);
          for (const { name } of files) {
            await Deno.copyFile(`${from}/shard-${i}/${name}`, `${to}/shard-${i}/${name}`);
          }
        }
      };
      await move(dir, copy);
      return () => move(copy, dir);
    },
    async [Symbol.asyncDispose]() {
      await Deno.remove(dir, { recursive: true });
    },
  };
}
