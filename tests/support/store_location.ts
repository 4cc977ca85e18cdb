/**
 * Where the data of a test's store is, in a form that a process of its own can be given.
 *
 * @module
 */
import { openSqliteStore, type SqliteStoreOptions } from "../../src/store/sqlite/sqlite_store.ts";
import { openSqliteThreads } from "../../src/store/sqlite/threads.ts";
import type { Store } from "../../src/store/store.ts";
import { shardedStore } from "../../src/store/sharded/sharded_store.ts";
import { numbered } from "./batches.ts";
import { openStore } from "./redis_store.ts";

/** A kind of store, and the URL of its server or the path of its file. JSON. */
export type StoreLocation =
  | {
    readonly kind: "redis";
    readonly url: string;
    readonly shard?: { readonly shard: number; readonly shards: number };
  }
  | {
    readonly kind: "sqlite" | "sqlite-threads";
    readonly path: string;
    /** Of the store's options. */
    readonly deferring?: Pick<SqliteStoreOptions, "deferFrom" | "partDevices" | "abandonedMs">;
  }
  | { readonly kind: "sharded"; readonly shards: readonly StoreLocation[] };

/** Opens one more store on the same data. */
export async function openStoreAt(location: StoreLocation): Promise<Store> {
  const ackAfter = { kind: "stored" } as const, values = { maxNames: 16 };
  switch (location.kind) {
    case "redis":
      return await openStore(location);
    case "sqlite":
      return numberedFor(
        location,
        await openSqliteStore({ path: location.path, ackAfter, values, ...location.deferring }),
      );
    case "sqlite-threads":
      return numberedFor(
        location,
        await openSqliteThreads({ path: location.path, ackAfter, values, ...location.deferring }),
      );
    case "sharded": {
      const [first, ...others] = await Promise.all(location.shards.map(openStoreAt));
      return shardedStore({ shards: [first!, ...others] });
    }
  }
}

/** Batches without a numbering are not deferred. */
function numberedFor({ deferring }: { readonly deferring?: unknown }, store: Store): Store {
  return deferring === undefined ? store : numbered(store);
}
