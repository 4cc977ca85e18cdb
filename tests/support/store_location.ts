/**
 * Where the data of a test's store is, in a form that a process of its own can be given.
 *
 * @module
 */
import { openSqliteStore } from "../../src/store/sqlite/sqlite_store.ts";
import { openSqliteThreads } from "../../src/store/sqlite/threads.ts";
import type { Store } from "../../src/store/store.ts";
import { shardedStore } from "../../src/store/sharded/sharded_store.ts";
import { openStore } from "./redis_store.ts";

/** A kind of store, and the URL of its server or the path of its file. JSON. */
export type StoreLocation =
  | {
    readonly kind: "redis";
    readonly url: string;
    readonly shard?: { readonly shard: number; readonly shards: number };
  }
  | { readonly kind: "sqlite" | "sqlite-threads"; readonly path: string }
  | { readonly kind: "sharded"; readonly shards: readonly StoreLocation[] };

/** Opens one more store on the same data. */
export async function openStoreAt(location: StoreLocation): Promise<Store> {
  const ackAfter = { kind: "stored" } as const;
  switch (location.kind) {
    case "redis":
      return await openStore(location);
    case "sqlite":
      return await openSqliteStore({ path: location.path, ackAfter, values: { maxNames: 16 } });
    case "sqlite-threads":
      return await openSqliteThreads({ path: location.path, ackAfter, values: { maxNames: 16 } });
    case "sharded": {
      const [first, ...others] = await Promise.all(location.shards.map(openStoreAt));
      return shardedStore({ shards: [first!, ...others] });
    }
  }
}
