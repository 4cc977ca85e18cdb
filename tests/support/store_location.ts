/**
 * Where the data of a test's store is, in a form that a process of its own can be given.
 *
 * @module
 */
import { openSqliteStore } from "../../src/store/sqlite/sqlite_store.ts";
import { openSqliteThreads } from "../../src/store/sqlite/threads.ts";
import type { Store } from "../../src/store/store.ts";
import { openStore } from "./redis_store.ts";

/** A kind of store, and the URL of its server or the path of its file. JSON. */
export type StoreLocation =
  | { readonly kind: "redis"; readonly url: string }
  | { readonly kind: "sqlite" | "sqlite-threads"; readonly path: string };

/** Opens one more store on the same data. */
export function openStoreAt(location: StoreLocation): Promise<Store> {
  const ackAfter = { kind: "stored" } as const;
  switch (location.kind) {
    case "redis":
      return openStore(location);
    case "sqlite":
      return openSqliteStore({ path: location.path, ackAfter });
    case "sqlite-threads":
      return openSqliteThreads({ path: location.path, ackAfter });
  }
}
