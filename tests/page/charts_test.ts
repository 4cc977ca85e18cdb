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
    ["24 hours", "24h", /^13:00 {2}0 packets/],
    // Packets are kept for a day.
    ["30 days", "30d", /^\d+ \w+, 1[0-3]:00 {2}[\d,]+ packets/],
  ];
  for (const [name, range, reading] of ranges) {
    await page.locator("#device-range").getByRole("radio", { name }).check();
    await until(async () => reading.test(await firstReading(page)), `${name} begins at its first period`);
    assertEquals(address(page), { device: "pump", ...range === undefined ? {} : { range } });
    assertEquals(await page.getByText("of the last day").isVisible(), range === "30d");
  }
  await page.goto(`${monitor.url}?device=pump&range=hours`);
  await until(async () => /^13:00 /.test(await firstReading(page)), "an old address shows its range");
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
