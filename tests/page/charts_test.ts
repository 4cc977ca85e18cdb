/**
 * The charts of a device: over a time that is chosen for all of them, and kept in the address.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Page } from "playwright-core";

import { visit } from "../support/browser.ts";
import { temporaryStore } from "../support/harness.ts";
import { receiveFor, reportIngest, startMonitor } from "../support/monitor.ts";
import { RunningClock } from "../support/test_api.ts";
import { until } from "../support/until.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** Half past noon, in UTC, which is the browser's zone in tests. */
function clockAtHalfPast(): RunningClock {
  const clock = new RunningClock();
  const dayMs = 24 * HOUR_MS;
  clock.pass(dayMs - clock.unixMs % dayMs + 12.5 * HOUR_MS);
  return clock;
}

/** A store where a pump has sent 60 packets a minute for 20 hours. */
async function pumpOf20Hours(clock: RunningClock) {
  const store = await temporaryStore();
  const now = clock.unixMs;
  await receiveFor(store, ["pump"], {
    fromMs: now - 20 * HOUR_MS,
    toMs: now,
    everyMs: 5 * MINUTE_MS,
    packets: 300,
  });
  // Known for longer than its packets are kept.
  await receiveFor(store, ["veteran"], {
    fromMs: now - 480 * HOUR_MS,
    toMs: now,
    everyMs: 480 * HOUR_MS,
    packets: 7,
  });
  await reportIngest(store);
  return store;
}

const zone = { timezoneId: "UTC" };

/** What the chart of packets reads at its first point. */
async function firstReading(page: Page): Promise<string> {
  await page.locator("#device-chart svg").focus();
  await page.keyboard.press("Home");
  return await page.locator("#device-chart output").innerText();
}

const address = (page: Page) => Object.fromEntries(new URL(page.url()).searchParams);

Deno.test("Device charts: each range begins at its first period, and the address has it", async () => {
  const clock = clockAtHalfPast();
  await using store = await pumpOf20Hours(clock);
  await using monitor = await startMonitor(store, clock.options);
  await using visitor = await visit(`${monitor.url}?device=pump`, zone);
  const { page } = visitor;
  await page.locator("#device-chart .running").waitFor({ state: "attached" });
  const ranges: [string, string | undefined, RegExp][] = [
    ["15 min", "15m", /^12:1[67] {2}\d+ packets/],
    ["1 hour", undefined, /^11:3[12] {2}\d+ packets/],
    // Before, the device was not there.
    ["24 hours", "24h", /^16:00 {2}[\d,]+ packets/],
    ["30 days", "30d", /^16:00 {2}[\d,]+ packets/],
  ];
  for (const [name, range, reading] of ranges) {
    await page.locator("#device-range").getByRole("radio", { name }).check();
    await until(async () => reading.test(await firstReading(page)), `${name} begins at its first period`);
    assertEquals(address(page), { device: "pump", ...range === undefined ? {} : { range } });
    assert(!await page.getByText("of the last day").isVisible());
  }
  await page.goto(`${monitor.url}?device=veteran&range=30d`);
  await page.getByText("Packets per hour of the last day").waitFor();
  assertMatch(await firstReading(page), /^\d+ \w+,? 1[0-3]:00 {2}0 packets/);
  await page.goto(`${monitor.url}?device=pump&range=hours`);
  await until(async () => /^16:00 /.test(await firstReading(page)), "an old address shows its range");
  visitor.assertNoProblems();
});

Deno.test("Device charts: from one moment to another, by keyboard, in the address, and back", async () => {
  const clock = clockAtHalfPast();
  await using store = await pumpOf20Hours(clock);
  await using monitor = await startMonitor(store, clock.options);
  await using visitor = await visit(`${monitor.url}?device=pump&range=24h`, zone);
  const { page } = visitor;
  await page.locator("#device-chart .bars").waitFor({ state: "attached" });
  const from = page.getByLabel("From", { exact: true });
  assert(!await from.isVisible());
  await page.getByRole("radio", { name: "From–to" }).check();
  const today = new Date(clock.unixMs).toISOString().slice(0, 10);
  const { to } = address(page);
  // It begins with the range that was shown.
  assertEquals(to, `${today}T13:00Z`);
  await from.fill(`${today}T02:10`);
  await page.getByLabel("to", { exact: true }).fill(`${today}T05:20`);
  await until(async () => /^02:00 {2}3,600 packets/.test(await firstReading(page)), "it begins at two");
  await page.keyboard.press("End");
  assertMatch(await page.locator("#device-chart output").innerText(), /^05:00 {2}3,600 packets$/);
  assertEquals(address(page), { device: "pump", from: `${today}T02:10Z`, to: `${today}T05:20Z` });

  // In the last hour there are minutes.
  await from.fill(`${today}T12:00`);
  assertEquals(await page.evaluate(`document.getElementById("range-to").validity.valid`), false);
  await page.getByLabel("to", { exact: true }).fill(`${today}T12:20`);
  await until(async () => /^12:00 {2}\d+ packets/.test(await firstReading(page)), "minutes are shown");
  await page.reload();
  await until(async () => /^12:00 {2}\d+ packets/.test(await firstReading(page)), "reload shows the same");
  assertEquals(await from.inputValue(), `${today}T12:00`);

  await page.goto(`${monitor.url}?device=pump&from=x&to=2026-13-99`);
  await until(async () => /^11:3[12] {2}/.test(await firstReading(page)), "what is no time is the last hour");
  // Another zone, the same time.
  await using other = await visit(`${monitor.url}?device=pump&from=${today}T02:00Z&to=${today}T05:00Z`, {
    timezoneId: "Asia/Kolkata",
  });
  await until(async () => /^07:30 {2}3,600 packets/.test(await firstReading(other.page)), "in another zone");
  assertEquals(await other.page.getByLabel("From", { exact: true }).inputValue(), `${today}T07:30`);
  visitor.assertNoProblems();
  other.assertNoProblems();
});

Deno.test("valueScale() and valueTicks() have a few finite labels around any two doubles", async () => {
  const { valueScale, valueTicks } = await import("../../src/page/chart_scale.js");
  const most = Number.MAX_VALUE, least = Number.MIN_VALUE;
  const pairs: [number, number][] = [
    [-most, most],
    [most, most],
    [0, least],
    [-least, 0],
    [0, 0],
    [1e16, 1e16 + 2],
    [-1e-7, 3e-7],
    [19.9, 20.1],
    [-40, 85],
    [1e15, 1e15 + 1],
    [0.1, 0.1 + 2 ** -53],
  ];
  for (const [low, high] of pairs) {
    const scale = valueScale(low, high);
    const ticks = valueTicks(scale);
    const label = `${low} to ${high}: ${JSON.stringify(ticks)}`;
    assert(ticks.length >= 2 && ticks.length <= 9, label);
    assert(scale.low < scale.high && Number.isFinite(scale.high - scale.low), label);
    assert(
      ticks.every(({ value, text }) => Number.isFinite(value) && /^-?[\d.]+(e[+-]\d+|k|M)?$/.test(text)),
      label,
    );
    const slack = scale.tick / 1e6;
    if (Math.abs(low) < 1e300) assert(scale.low <= low + slack && scale.high >= high - slack, label);
  }
  assertEquals(valueTicks(valueScale(19.9, 20.1)).map(({ text }) => text), ["19.9", "20.0", "20.1"]);
  assertEquals(valueTicks(valueScale(-40, 85)).map(({ text }) => text), ["-50", "0", "50", "100"]);
});

Deno.test("timeTicks() are at full hours and days of the calendar", async () => {
  const { timeTicks } = await import("../../src/page/chart_scale.js");
  const now = Date.now();
  for (const spanMs of [5 * MINUTE_MS, HOUR_MS, 24 * HOUR_MS, 720 * HOUR_MS, 50_000 * HOUR_MS]) {
    const ticks = timeTicks(now - spanMs, now, 8);
    assert(ticks.length >= 2 && ticks.length <= 9, `${ticks.length} in ${spanMs / HOUR_MS} h`);
    for (const { at, text } of ticks) {
      const date = new Date(at);
      assertEquals(date.getSeconds() + date.getMilliseconds(), 0);
      if (/[a-z]/.test(text)) assertEquals([date.getHours(), date.getMinutes()], [0, 0]);
    }
  }
});

Deno.test("unitOf() takes the end of the name or the device's tag; formatValue() has the digits of any double", async () => {
  const { unitOf, formatValue, formatMean } = await import("../../src/page/units.js");
  const units = [
    "temperature_c",
    "a.humidity_pct",
    "battery_v",
    "wind_mps",
    "speed",
    "_",
    "x_toString",
    "_c",
  ];
  assertEquals(units.map((name) => unitOf(name)), ["°C", "%", "V", "m/s", "", "", "", "°C"]);
  assertEquals(unitOf("temperature_c", { "unit.temperature_c": "K" }), "K");
  assertEquals(unitOf("x", Object.create({ "unit.x": "inherited" })), "");
  assertEquals(
    [21.5, 0, -0.1, 1e9, 1.5e-7, 1013.25, 123456.789].map((value) => formatValue(value)),
    ["21.5", "0", "-0.1", "1E9", "1.5E-7", "1,013.25", "123,457"],
  );
  assertEquals([formatValue(20, "°C"), formatValue(20, "°"), formatMean(20.33333, "°C")], [
    "20 °C",
    "20°",
    "20.33 °C",
  ]);
});
