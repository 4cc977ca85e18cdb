/** @module */
import { getLogger } from "@logtape/logtape";

import { openRedisStore } from "../src/store/redis.ts";
import { startRedis } from "./redis_server.ts";
import { testStoreContract } from "./store_contract.ts";

const log = getLogger(["tally", "test"]);

testStoreContract("Redis", async () => {
  const server = await startRedis();
  return {
    open: () =>
      openRedisStore({ url: server.url, ackAfter: { kind: "stored" }, commandTimeoutMs: 2000, log }),
    [Symbol.asyncDispose]: () => server.stop(),
  };
});
