/**
 * What readers see of the shards of a store, one of which does not answer.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

import { shardedStore } from "../../src/store/sharded/sharded_store.ts";
import { delta } from "../support/batches.ts";
import { visit } from "../support/browser.ts";
import { temporaryStore } from "../support/harness.ts";
import { receive, reportIngest, startMonitor } from "../support/monitor.ts";
import { failing, shardDevices, SHARDS, sqliteShards } from "../support/sharded_places.ts";
import { until } from "../support/until.ts";

Deno.test("A shard that does not answer: /fleet, /metrics and the page show it, and the devices of all", async () => {
  await using place = await sqliteShards();
  const shards = await place.openShards(), state = { isDown: false };
  const { status } = shards[1]!;
  shards[1] = { ...shards[1]!, status: async () => ({ ...await status(), countsLateMs: 9_000 }) };
  const store = shardedStore({ shards: [shards[0], shards[1]!, failing(shards[2]!, state)] });
  try {
    await receive(shardedStore({ shards }), shardDevices.map((id) => delta(id, 1)));
    await reportIngest(store);
    await using monitor = await startMonitor(store);
    const shown = async () => {
      const { devices, store: { shards } } = await (await fetch(`${monitor.url}fleet`)).json();
      return [
        devices,
        shards.map(({ late_since_ms }: { late_since_ms: number | null }) => late_since_ms === null),
      ];
    };
    assertEquals(await shown(), [SHARDS, [true, true, true]]);
    state.isDown = true;
    await until(async () => (await shown())[1].includes(false), "the shard is shown as late");
    assertEquals(await shown(), [SHARDS, [true, true, false]]);
    const metrics = async () =>
      await (await fetch(`${monitor.url}metrics`, { headers: { accept: "text/plain" } })).text();
    assertMatch(
      await metrics(),
      /^tally_store_shard_up\{shard="1"\} 1\ntally_store_shard_up\{shard="2"\} 0$/m,
    );
    await using visitor = await visit(monitor.url);
    const { page } = visitor;
    const items = page.locator("#shard-list li");
    await until(async () => await items.count() === SHARDS, "the page lists the shards");
    assertStringIncludes(await items.nth(0).innerText(), shards[0].description);
    await until(
      async () => /Not for \d+ s/.test(await items.nth(2).innerText()),
      "the last one is shown as late",
    );
    assertMatch(await items.nth(1).innerText(), /In \d+ ms, counts 9 s late/);
    assertMatch(await metrics(), /^tally_store_shard_counts_late_seconds\{shard="1"\} 9$/m);
    assertEquals((await store.status()).countsLateMs, 9_000);
    state.isDown = false;
    await until(async () => /In \d+ ms/.test(await items.nth(2).innerText()), "it answers again");
  } finally {
    for (const shard of shards) await shard.close();
  }
});

Deno.test("A store that is one has no list of shards", async () => {
  await using store = await temporaryStore();
  await reportIngest(store);
  await using monitor = await startMonitor(store);
  await using visitor = await visit(monitor.url);
  const { page } = visitor;
  await until(() => page.locator("#ingest").isVisible(), "the fleet is shown");
  assertEquals(await page.locator("#shards").isVisible(), false);
  assert(
    !(await (await fetch(`${monitor.url}metrics`, { headers: { accept: "text/plain" } })).text()).includes(
      "shard",
    ),
  );
});
