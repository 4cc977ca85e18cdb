/**
 * The Redis store with sentinels: it finds the master, and follows it through failovers.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";

import type { Store } from "../../src/store/store.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { advance, batch, countsOf, delta, now } from "../support/batches.ts";
import { startSentinels } from "../support/redis_sentinels.ts";
import { openStore, untilStored } from "../support/redis_store.ts";
import { until } from "../support/until.ts";

/** Repeats a batch until it is stored, as a writer does. */
function untilApplied(store: Store, ...args: Parameters<typeof batch>): Promise<unknown> {
  return until(
    async () => await store.apply(batch(...args)).then((fenced) => fenced.length === 0, () => false),
    "the batch is applied",
    30,
  );
}

Deno.test("RedisStore follows the master that sentinels name through a failover, and counts once", async () => {
  await using group = await startSentinels();
  const store = await openStore(group, { ackAfter: { kind: "replicated", replicas: 1 } });
  try {
    const { epoch } = await store.claimSession("s", 0, now);
    assertEquals(store.description.includes("tally-master"), true);
    const next = (sequence: number) => ({
      devices: [delta("a", 1)],
      sessions: [advance("s", epoch, sequence - 1, sequence)],
    });
    await untilApplied(store, 1, next(1));
    await untilApplied(store, 2, next(2));
    await group.failover();
    // It is acknowledged when the new master has a replica.
    await untilApplied(store, 3, next(3));
    const counts = await untilStored(() => countsOf(store));
    assertEquals(counts, { a: 3 });
  } finally {
    await store.close();
  }
});

Deno.test("RedisStore leaves a master that still runs when the sentinels name another, for reads too", async () => {
  await using group = await startSentinels();
  const store = await openStore(group);
  try {
    await untilApplied(store, 1, { devices: [delta("a", 1)] });
    const old = await group.master();
    await until(
      async () =>
        await group.sentinels[0]!.call("SENTINEL", "FAILOVER", "tally-master").then(() => true, () => false),
      "the failover begins",
    );
    await until(async () => await group.master() !== old, "the sentinels name a new master");
    const master = await group.master();
    await until(async () => {
      const names = String(await master.call("CLIENT", "LIST"));
      return names.includes("name=tally-reads") && names.includes("name=tally-writes");
    }, "both connections lead to the new master");
    // A sentinel makes the old one a replica ten seconds later.
    assertMatch(String(await old.call("INFO", "replication")), /role:master/);
    assert(!String(await old.call("CLIENT", "LIST")).includes("name=tally-"));
    await untilApplied(store, 2, { devices: [delta("a", 2)] });
    assertEquals(await countsOf(store), { a: 3 });
  } finally {
    await store.close();
  }
});

Deno.test("RedisStore with sentinels that all ended connects to the last master again", async () => {
  await using group = await startSentinels({}, "secret");
  const store = await openStore(group, { sentinelPassword: "secret" });
  try {
    await store.ping();
    await Promise.all(group.sentinels.map((sentinel) => sentinel.kill9()));
    await store.ping(); // The master is still there.
    const master = group.servers[0]!;
    await master.kill9();
    await assertRejects(() => store.ping(), StoreError, "there is no connection");
    await master.start();
    await until(() => store.ping().then(() => true, () => false), "it connects to the last master");
  } finally {
    await store.close();
  }
});

Deno.test("RedisStore with sentinels reports that it could not reach one, and connects when one starts", async () => {
  await using group = await startSentinels({}, "secret");
  await Promise.all(group.sentinels.map((sentinel) => sentinel.kill9()));
  const store = await openStore(group, { sentinelPassword: "secret" });
  try {
    const { message } = await assertRejects(() => store.ping(), StoreError, "there is no connection");
    assertMatch(
      message,
      new RegExp(`sentinel 127.0.0.1:(${group.sentinels.map(({ port }) => port).join("|")})`),
    );
    await group.sentinels[1]!.start();
    await until(() => store.ping().then(() => true, () => false), "it connects by the one sentinel");
  } finally {
    await store.close();
  }
});

Deno.test("openRedisStore() with a wrong sentinel password, or an unknown master, names the cause", async () => {
  await using group = await startSentinels({}, "secret");
  for (
    const [url, sentinelPassword, cause] of [
      [group.url, "wrong", "WRONGPASS"],
      [group.url.replace("tally-master", "other"), "secret", "sentinel"],
    ] as const
  ) {
    const store = await openStore({ url }, { sentinelPassword });
    try {
      const { message } = await assertRejects(() => store.ping(), StoreError, "there is no connection");
      assert(message.includes(cause), message);
      assert(!message.includes("secret"), message);
    } finally {
      await store.close();
    }
  }
});
