/**
 * The store of several shards: the contract.
 *
 * @module
 */
import { testStoreContract } from "../contracts/store_contract.ts";
import { SHARDS, sqliteShards } from "../support/sharded_places.ts";

testStoreContract("3 SQLite shards", sqliteShards, { shards: SHARDS });
