/** @module */
import { openSqliteStore } from "../src/store/sqlite.ts";
import { testStoreContract } from "./store_contract.ts";

testStoreContract("SQLite", async () => {
  const dir = await Deno.makeTempDir({ prefix: "tally-sqlite-" });
  return {
    open: () => openSqliteStore({ path: `${dir}/data/tally.db`, ackAfter: { kind: "stored" } }),
    [Symbol.asyncDispose]: () => Deno.remove(dir, { recursive: true }),
  };
});
