/**
 * What readers have of a store of which a shard does not answer.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { getLogger } from "@logtape/logtape";

import { FleetCache } from "../../src/fleet/fleet_cache.ts";
import { shardedStore } from "../../src/store/sharded/sharded_store.ts";
import type { Store } from "../../src/store/store.ts";
import { send } from "../contracts/parts.ts";
import { now } from "../support/batches.ts";
import { failing, shardDevices, sqliteShards } from "../support/sharded_places.ts";
import { TestClock } from "../support/test_api.ts";

const [one, other, lost] = shardDevices as [string, string, string];

/** Runs `body` with shards of which the last fails while `isDown`, and a fleet that reads them. */
async function withFleet(
  body: (
    parts: { store: Store; writer: Store; fleet: FleetCache; clock: TestClock; state: { isDown: boolean } },
  ) => Promise<void>,
): Promise<void> {
  await using place = await sqliteShards();
  const shards = await place.openShards(), state = { isDown: false };
  const clock = new TestClock(), { clock: given } = clock.options;
  const store = shardedStore({ shards: [shards[0], shards[1]!, failing(shards[2]!, state)], clock: given });
  const fleet = new FleetCache({
    ...{ store, clock: given, maxAgeMs: 0, warmForMs: 0, offlineAfterMs: 60_000 },
    log: getLogger(["tally", "test"]),
  });
  try {
    await body({ store, writer: shardedStore({ shards }), fleet, clock, state });
  } finally {
    await fleet.close();
    for (const shard of shards) await shard.close();
  }
}

/** Reads again; counts of the three devices. */
async function countsOf(fleet: FleetCache, clock: TestClock): Promise<(number | undefined)[]> {
  clock.pass(1);
  await fleet.refresh({ keepWarm: true });
  return [one, other, lost].map((id) => {
    const slot = fleet.index.slotOf(id);
    return slot === undefined ? undefined : fleet.index.countAt(slot);
  });
}

Deno.test("FleetCache keeps the devices of a shard that does not answer, and reads the others", async () => {
  await withFleet(async ({ store, writer, fleet, clock, state }) => {
    await send(writer, now, [one, 1], [other, 1], [lost, 1]);
    assertEquals(await countsOf(fleet, clock), [1, 1, 1]);
    state.isDown = true;
    await send(writer, now, [one, 1], [lost, 1]);
    assertEquals(await countsOf(fleet, clock), [2, 1, 1]);
    assertEquals(fleet.isPartial, true);
    const downSinceMs = clock.unixMs;
    clock.pass(7);
    const late = (await store.shards!()).map(({ lateSinceMs }) => lateSinceMs);
    assertEquals(late, [undefined, undefined, downSinceMs]);
    await send(writer, now, [other, 1]);
    assertEquals(await countsOf(fleet, clock), [2, 2, 1]);
    state.isDown = false;
    assertEquals(await countsOf(fleet, clock), [2, 2, 2]);
    assertEquals(fleet.isPartial, false);
    assertEquals((await store.shards!()).map(({ lateSinceMs }) => lateSinceMs), [
      undefined,
      undefined,
      undefined,
    ]);
  });
});

Deno.test("FleetCache that starts while a shard does not answer has its devices when it does", async () => {
  await withFleet(async ({ writer, fleet, clock, state }) => {
    await send(writer, now, [one, 1], [other, 1], [lost, 1]);
    state.isDown = true;
    assertEquals(await countsOf(fleet, clock), [1, 1, undefined]);
    assertEquals(fleet.isPartial, true);
    state.isDown = false;
    assertEquals(await countsOf(fleet, clock), [1, 1, 1]);
    assertEquals(fleet.isPartial, false);
  });
});

Deno.test("shardedStore() of which a shard does not answer: history, events and payloads of the others", async () => {
  await withFleet(async ({ store, writer, state }) => {
    await send(writer, now, [one, 1], [other, 2], [lost, 4]);
    const packets = async () => (await store.fleetHistory(now)).hours.at(-1)?.packets;
    assertEquals(await packets(), 7);
    state.isDown = true;
    await send(writer, now, [one, 10], [lost, 20]);
    assertEquals(await packets(), 17);
    assertEquals([...(await store.payloads([one, lost], 1)).keys()], [one]);
    assertEquals(await store.markOffline([one, lost], now + 1, now + 1), 1);
    assertEquals((await store.events(0, 9)).map(({ deviceId }) => deviceId), [one]);
    state.isDown = false;
    assertEquals(await packets(), 37);
    assertEquals(await store.markOffline([lost], now + 1, now + 1), 1);
    assertEquals((await store.events(0, 9)).map(({ deviceId }) => deviceId), [one, lost]);
  });
});
