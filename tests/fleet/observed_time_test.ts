/**
 * Which time counts for a device's silence.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { setTimeout as delay } from "node:timers/promises";

import { TelemetryClient } from "../../src/client/client.ts";
import { DeviceIndex } from "../../src/fleet/device_index.ts";
import { ObservedTime } from "../../src/fleet/observed_time.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import type { DeviceEvent } from "../../src/store/events.ts";
import { temporaryStore } from "../support/harness.ts";
import { startRedis } from "../support/redis_server.ts";
import { TallyProcess } from "../support/tally_process.ts";
import { startTestApi, TestClock } from "../support/test_api.ts";
import { until } from "../support/until.ts";

const offlineAfterMs = 10_000;

function observedTimeOn(clock: TestClock, ingestRequired = false): ObservedTime {
  return new ObservedTime({ offlineAfterMs, ingestRequired, ...clock.options });
}

/** Lets time pass while an ingest reports once a second. */
function passReported(clock: TestClock, observedTime: ObservedTime, seconds: number): void {
  for (let i = 0; i < seconds; i++) {
    clock.pass(1000);
    observedTime.reported(clock.unixMs);
  }
}

Deno.test("ObservedTime.offlineBeforeMs() counts all time while ingests report, or when none is required", () => {
  const clock = new TestClock();
  const without = observedTimeOn(clock), reporting = observedTimeOn(clock, true);
  passReported(clock, reporting, 60);
  assertEquals(without.offlineBeforeMs(clock.unixMs), clock.unixMs - offlineAfterMs);
  assertEquals(reporting.offlineBeforeMs(clock.unixMs), clock.unixMs - offlineAfterMs);
  assertEquals(reporting.offlineBeforeMs(clock.unixMs + 2_000), clock.unixMs - offlineAfterMs);
});

Deno.test("ObservedTime.offlineBeforeMs() excludes the time in which no ingest reported", () => {
  const clock = new TestClock();
  const observedTime = observedTimeOn(clock);
  passReported(clock, observedTime, 20);
  const pausedMs = clock.unixMs;
  clock.pass(15_000);
  assertEquals(observedTime.offlineBeforeMs(clock.unixMs), pausedMs - offlineAfterMs);
  observedTime.reported(clock.unixMs);
  assertEquals(observedTime.offlineBeforeMs(clock.unixMs), pausedMs - offlineAfterMs);
  // The five seconds to catch up do not count either.
  passReported(clock, observedTime, 5);
  assertEquals(observedTime.offlineBeforeMs(clock.unixMs), pausedMs - offlineAfterMs);
  passReported(clock, observedTime, 4);
  assertEquals(observedTime.offlineBeforeMs(clock.unixMs), pausedMs - offlineAfterMs + 4_000);
  passReported(clock, observedTime, 6);
  assertEquals(observedTime.offlineBeforeMs(clock.unixMs), clock.unixMs - offlineAfterMs);
});

Deno.test("ObservedTime.offlineBeforeMs() does not advance before the first ingest reports, if one is required", () => {
  const clock = new TestClock();
  const startedMs = clock.unixMs;
  const observedTime = observedTimeOn(clock, true);
  clock.pass(3_600_000);
  assertEquals(observedTime.offlineBeforeMs(clock.unixMs), startedMs - offlineAfterMs);
  passReported(clock, observedTime, 16);
  assertEquals(observedTime.offlineBeforeMs(clock.unixMs), clock.unixMs - offlineAfterMs);
});

Deno.test("ObservedTime.offlineBeforeMs() adds up many short absences", () => {
  const clock = new TestClock();
  const observedTime = observedTimeOn(clock);
  passReported(clock, observedTime, 20);
  const beforeMs = clock.unixMs;
  for (let i = 0; i < 3000; i++) {
    clock.pass(4_000);
    passReported(clock, observedTime, 1);
  }
  // Nothing but times away and those to catch up after each.
  assertEquals(observedTime.offlineBeforeMs(clock.unixMs), beforeMs - offlineAfterMs);
  passReported(clock, observedTime, 20);
  assertEquals(observedTime.offlineBeforeMs(clock.unixMs), clock.unixMs - offlineAfterMs);
});

Deno.test("ObservedTime.offlineBeforeMs() excludes a forward jump of the clock, and is correct after one back", () => {
  const clock = new TestClock();
  let jumpMs = 0;
  const observedTime = new ObservedTime({
    offlineAfterMs,
    ingestRequired: false,
    clock: { ...clock.options.clock, unixMs: () => clock.unixMs + jumpMs },
  });
  const beforeMs = clock.unixMs;
  jumpMs = 3_600_000;
  assertEquals(observedTime.offlineBeforeMs(clock.unixMs + jumpMs), beforeMs - offlineAfterMs);
  clock.pass(60_000);
  assertEquals(observedTime.offlineBeforeMs(clock.unixMs + jumpMs), clock.unixMs + jumpMs - offlineAfterMs);
  observedTime.reported(clock.unixMs + jumpMs);
  jumpMs = 0;
  assertEquals(observedTime.offlineBeforeMs(clock.unixMs), clock.unixMs - offlineAfterMs);
  passReported(clock, observedTime, 60);
  assertEquals(observedTime.offlineBeforeMs(clock.unixMs), clock.unixMs - offlineAfterMs);
});

Deno.test("ObservedTime excludes a pause of its own process", async () => {
  const observedTime = new ObservedTime({
    offlineAfterMs: 1_000,
    ingestRequired: false,
    clock: systemClock,
  });
  const beforeMs = Date.now();
  observedTime.tick();
  // Nothing runs meanwhile, as in a process that is stopped.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_500);
  assert(observedTime.offlineBeforeMs(Date.now()) <= beforeMs - 900);
  await delay(0);
});

Deno.test("DeviceIndex: after the clock was set back no device stays online for longer, and rates start again", () => {
  const start = 1_700_000_000_000, hour = 3_600_000;
  const index = new DeviceIndex(60_000);
  const set = (deviceId: string, count: number, lastSeenMs: number, nowMs: number) =>
    index.set(
      { deviceId, count, firstSeenMs: start, lastSeenMs, timestampMs: lastSeenMs, online: true },
      1,
      nowMs,
    );
  set("idle", 10, start, start);
  set("active", 10, start, start);
  index.sweep(1, start);
  let nowMs = start, count = 10;
  for (; nowMs < start + 30_000; nowMs += 1000) set("active", count += 20, nowMs, nowMs);
  set("idle", 11, nowMs, nowMs);
  assertEquals(index.totals(nowMs).online, 2);

  // What a store that does not correct it still holds of both.
  const storedMs = nowMs;
  nowMs -= hour;
  set("idle", 11, storedMs, nowMs);
  for (const until = nowMs + 61_000; nowMs < until; nowMs += 1000) {
    set("idle", 11, storedMs, nowMs); // read again
    set("active", count += 20, storedMs, nowMs);
  }
  const active = index.viewAt(index.slotOf("active")!, nowMs);
  assertEquals([active.online, index.viewAt(index.slotOf("idle")!, nowMs).online], [true, false]);
  assertEquals(index.newlyOffline(nowMs), ["idle"]);
  assert(active.lastSeenMs <= nowMs);
  assert(Math.abs(active.rate10s! - 20) <= 2, `${active.rate10s}`);
  assert(Math.abs(active.rate1m - 20) <= 2, `${active.rate1m}`);
});

Deno.test("GET /devices shows how far a device's clock is ahead, and the last arrival", async () => {
  await using store = await temporaryStore();
  const clock = new TestClock();
  const bytes = (text: string) => new TextEncoder().encode(text);
  let sequence = 0;
  const send = (timestampMs: number, payload: string) =>
    store.apply({
      producer: "p",
      previous: sequence,
      sequence: ++sequence,
      receivedAtMs: clock.unixMs,
      sessions: [],
      devices: [{ deviceId: "a", packets: 1, timestampMs, payload: bytes(payload) }],
    });
  await using api = await startTestApi(store, { ...clock.options, maxAgeMs: 0 });
  const row = async () => {
    clock.pass(1);
    const { devices: [{ clock_ahead_ms, payload, timestamp_ms }] } = await (await fetch(`${api.url}/devices`))
      .json();
    return [clock_ahead_ms, payload.text, timestamp_ms - clock.unixMs];
  };
  await send(clock.unixMs + 3_600_000, "ahead");
  assertEquals(await row(), [3_600_000, "ahead", 3_599_999]);
  clock.pass(1_000);
  await send(clock.unixMs, "right");
  assertEquals(await row(), [0, "right", -1]);
});

/** Stops the processes of `roles` for longer than TALLY_OFFLINE_AFTER, while devices send. */
async function pauseAndResume(roles: readonly ("ingest" | "api")[]): Promise<void> {
  await using server = await startRedis();
  const settings = { REDIS_URL: server.url, TALLY_OFFLINE_AFTER: "3s" };
  const processes = {
    ingest: await TallyProcess.start("ingest", settings),
    api: await TallyProcess.start("api", settings),
  };
  const client = await TelemetryClient.open({ target: `127.0.0.1:${processes.ingest.port}` });
  let sending = true;
  const send = (async () => {
    for (let i = 0; sending; i++) {
      for (let device = 0; device < 30; device++) {
        await client.send({
          device_id: `device-${device}`,
          timestamp: Date.now(),
          payload: new Uint8Array(1),
        });
      }
      await delay(200);
    }
  })();
  try {
    const url = `http://127.0.0.1:${processes.api.port}`;
    const get = async (path: string) => {
      let response = await fetch(url + path);
      // Commands in flight time out during the pause, and with them a request that shares their reply.
      while (response.status === 503) {
        await response.body?.cancel();
        await delay(50);
        response = await fetch(url + path);
      }
      assertEquals(response.status, 200);
      return await response.json();
    };
    await until(async () => (await get("/fleet")).online === 30, "all are online");
    await client.send({ device_id: "gone", timestamp: Date.now(), payload: new Uint8Array(1) });
    // Longer than the api has to have read the store before it marks anybody.
    const offline = async () =>
      (await get("/events")).events.map((
        { kind, device_id }: { kind: DeviceEvent["kind"]; device_id: string },
      ) => `${device_id} ${kind}`);
    await until(async () => (await offline()).includes("gone offline"), "an idle device goes offline");
    for (const role of roles) processes[role].kill("SIGSTOP");
    await delay(6_000); // The pause itself.
    if (roles.length === 1) assertEquals((await get("/fleet")).online, 30);
    for (const role of roles) processes[role].kill("SIGCONT");
    // This device goes offline after all that would because of the pause.
    await client.send({ device_id: "later", timestamp: Date.now(), payload: new Uint8Array(1) });
    await until(
      async () => (await offline()).includes("later offline"),
      "a device idle since then is offline",
      30, // beside other tests
    );
    assertEquals(await offline(), ["gone offline", "later offline"]);
    assertEquals((await get("/fleet")).online, 30);
    // And devices that are idle then are found.
    sending = false;
    await send;
    await until(async () => (await get("/fleet")).online === 0, "all are offline");
    await until(async () => (await offline()).length === 32, "all have their event");
  } finally {
    for (const process of Object.values(processes)) process.kill("SIGCONT");
    sending = false;
    await send;
    await client.close();
    for (const process of Object.values(processes)) {
      process.kill("SIGTERM");
      await process.ended;
    }
  }
}

Deno.test("No device goes offline while the ingest, or the whole Tally, is paused for longer than TALLY_OFFLINE_AFTER", async () => {
  await Promise.all([pauseAndResume(["ingest"]), pauseAndResume(["ingest", "api"])]);
});
