/**
 * Figures of the page: rates and histories mean what they show, for periods that are running and for devices that
 * send seldom.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { setTimeout as delay } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import type { Page } from "playwright-core";

import { delta } from "../support/batches.ts";
import { visit } from "../support/browser.ts";
import { temporaryStore } from "../support/harness.ts";
import { numberedIds, receive, receiveFor, reportIngest, startMonitor } from "../support/monitor.ts";
import { RunningClock } from "../support/test_api.ts";
import { until } from "../support/until.ts";

const HOUR_MS = 3_600_000;

/** A clock that shows this long past a full hour. */
function clockPastHour(pastMs: number): RunningClock {
  const clock = new RunningClock();
  clock.pass(HOUR_MS - clock.unixMs % HOUR_MS + pastMs);
  return clock;
}

/** What the chart reads for its last point. */
async function lastReading(page: Page, chart: string): Promise<string> {
  await page.locator(`${chart} svg`).focus();
  await page.keyboard.press("End");
  for (let i = 0; i < 2; i++) await page.keyboard.press("ArrowRight");
  return await page.locator(`${chart} output`).innerText();
}

async function assertLastRate(page: Page, chart: string, least: number, greatest: number): Promise<void> {
  let reading = "";
  await until(async () => {
    reading = await lastReading(page, chart);
    const rate = Number(/([\d.]+) packets\/s$/.exec(reading)?.[1]);
    return rate >= least && rate <= greatest;
  }, `the last point is from ${least} to ${greatest} packets/s`).catch((error) => {
    throw new Error(`${error.message}; it reads ${reading}`);
  });
}

/** Stores 10 packets a second, by `clock`, until it goes out of scope. */
function sendSteadily(store: Parameters<typeof receive>[0], clock: RunningClock): AsyncDisposable {
  const stopping = new AbortController();
  const sending = (async () => {
    const startedAtMs = clock.unixMs;
    let sent = 0;
    while (!stopping.signal.aborted) {
      // As many as are due, however slow the machine is.
      const due = Math.floor((clock.unixMs - startedAtMs) / 100) - sent;
      sent += due;
      if (due > 0) await receive(store, [delta("steady", due)], Math.round(clock.unixMs));
      await delay(200, undefined, { signal: stopping.signal }).catch(() => {});
    }
  })();
  return {
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await sending;
    },
  };
}

Deno.test("Fleet chart: the current period is a rate over its elapsed time, in each range", async () => {
  await using store = await temporaryStore();
  const clock = clockPastHour(20 * 60_000 + 35_000);
  const now = clock.unixMs;
  await receiveFor(store, ["steady"], {
    fromMs: now - 20 * 60_000 - 34_000,
    toMs: now,
    everyMs: 2_000,
    packets: 20,
  });
  await reportIngest(store);
  await using monitor = await startMonitor(store, clock.options);
  await using _traffic = sendSteadily(store, clock);
  await using visitor = await visit(monitor.url);
  const { page } = visitor;

  for (const [range, isRunning] of [["24 hours", true], ["1 hour", true], ["15 min", false]] as const) {
    await page.getByRole("radio", { name: range }).check();
    await assertLastRate(page, "#fleet-chart", 7, 13);
    assertEquals((await lastReading(page, "#fleet-chart")).includes("so far"), isRunning, range);
  }
  // On a phone several seconds are one point, the newest ones too.
  await page.setViewportSize({ width: 375, height: 800 });
  await assertLastRate(page, "#fleet-chart", 7, 13);
  // Hours before the fleet was there are zero, this one is not.
  await page.getByRole("radio", { name: "24 hours" }).check();
  await page.getByRole("searchbox").focus();
  await until(
    async () =>
      /latest 1?\d(\.\d)? packets\/s so far/.test(
        await page.locator("#fleet-chart svg").getAttribute("aria-label") ?? "",
      ),
    "it is read aloud",
  );
  visitor.assertNoProblems();
});

Deno.test("Fleet chart shows neither a drop nor a peak when a period has just begun", async () => {
  await using store = await temporaryStore();
  const clock = clockPastHour(1_000);
  const now = clock.unixMs;
  await receiveFor(store, ["steady"], {
    fromMs: now - 2 * HOUR_MS,
    toMs: now,
    everyMs: 10_000,
    packets: 100,
  });
  await receiveFor(store, ["steady"], { fromMs: now - 5_000, toMs: now, everyMs: 1_000, packets: 1 });
  await reportIngest(store);
  await using monitor = await startMonitor(store, clock.options);
  await using _traffic = sendSteadily(store, clock);
  await using visitor = await visit(`${monitor.url}?range=hours`);
  const { page } = visitor;
  await page.locator("#fleet-chart path.line").waitFor();
  await assertLastRate(page, "#fleet-chart", 8, 12);
  visitor.assertNoProblems();
});

Deno.test("Device chart: the current period shows its count so far and its rate", async () => {
  await using store = await temporaryStore();
  const clock = clockPastHour(20 * 60_000 + 15_000);
  const now = clock.unixMs;
  await receiveFor(store, ["pump"], { fromMs: now - 90 * 60_000, toMs: now, everyMs: 10_000, packets: 20 });
  await reportIngest(store);
  await using monitor = await startMonitor(store, clock.options);
  await using visitor = await visit(`${monitor.url}?device=pump`);
  const { page } = visitor;
  await page.locator("#device-chart .running").waitFor();
  assertMatch(
    await lastReading(page, "#device-chart"),
    /^\d\d:20 so far\s+[46]0 packets, [0-3]\.\d packets\/s$/,
  );
  await page.locator("#device-range").getByRole("radio", { name: "24 hours" }).check();
  assertMatch(
    await lastReading(page, "#device-chart"),
    /^\d\d:00 so far\s+2,4\d\d packets, (1\.9|2\.0) packets\/s$/,
  );
  visitor.assertNoProblems();
});

Deno.test("A device that sends every five minutes shows its interval in place of a rate of 0, until it stops", async () => {
  await using store = await temporaryStore();
  const clock = new RunningClock();
  const now = clock.unixMs;
  await receiveFor(store, ["slow"], {
    fromMs: now - 36 * 300_000,
    toMs: now - 60_000,
    everyMs: 300_000,
    packets: 1,
  });
  await reportIngest(store);
  await using monitor = await startMonitor(store, { ...clock.options, offlineAfterMs: 600_000 });
  await using visitor = await visit(monitor.url);
  const { page } = visitor;
  const row = page.locator("tbody tr", { hasText: "slow" });
  await row.getByText("every 5 min", { exact: true }).waitFor();
  await row.getByRole("link").click();
  await page.locator("#device-rate", { hasText: "every 5 min" }).waitFor();

  clock.pass(16 * 60_000);
  await page.locator("#device-rate", { hasText: /^0$/ }).waitFor();
  await page.getByRole("link", { name: "All devices" }).click();
  await row.locator(".col-rate", { hasText: /^0$/ }).waitFor();
  visitor.assertNoProblems();
});

Deno.test("Sparklines requests the histories of 50 rows with one request", async () => {
  await using store = await temporaryStore();
  const now = Date.now();
  const ids = [...numberedIds(48), "..", "a&b=c,d"];
  await receiveFor(store, ids, { fromMs: now - 30 * 60_000, toMs: now, everyMs: 60_000, packets: 60 });
  await reportIngest(store);
  await using monitor = await startMonitor(store);
  await using visitor = await visit(monitor.url);
  const { page } = visitor;
  const requests: string[] = [];
  page.on("request", (request) => requests.push(new URL(request.url()).pathname));
  await page.reload();
  await until(
    async () => await page.locator("tbody .past[d*='h2v']").count() === 50,
    "each row has its last half hour",
  );
  const histories = requests.filter((path) => path.includes("histor"));
  // One more if a minute ends just then.
  assert(histories.length <= 2 && histories.every((path) => path === "/histories"), histories.join());
  visitor.assertNoProblems();
});

Deno.test("The scripts of the first view are at most 25 KiB compressed", async () => {
  await using store = await temporaryStore();
  await using monitor = await startMonitor(store);
  const html = await (await fetch(monitor.url)).text();
  const names = new Set([...html.matchAll(/"(\/page\/[^"]+\.js)"/g)].map((match) => match[1]!));
  let bytes = 0;
  for (const name of names) {
    bytes += gzipSync(await (await fetch(new URL(name, monitor.url))).bytes()).length;
  }
  assert(names.size > 10);
  assert(bytes <= 25 * 1024, `they are ${bytes} bytes`);
});

Deno.test("formatRate(), formatShare() and formatPace() never round a small value to 0 or a part to 100 %", async () => {
  const format = await import("../../src/page/format.js");
  const rates: [number | null, string][] = [[null, "–"], [0, "0"], [0.001, "0.001"], [0.017, "0.02"], [
    0.1,
    "0.1",
  ], [
    99.96,
    "100",
  ]];
  for (const [rate, text] of rates) assertEquals(format.formatRate(rate), text);
  const shares: [number, number, string][] = [
    [0, 1_003, "0 %"],
    [1, 100_000, "< 0.1 %"],
    [2, 1_003, "0.2 %"],
    [
      1_002,
      1_003,
      "99.9 %",
    ],
    [970, 1_000, "97 %"],
    [5, 5, "100 %"],
  ];
  for (const [part, all, text] of shares) assertEquals(format.formatShare(part, all), text);
  const pace = (interval_ms: number | null, agoMs = 0) =>
    format.formatPace({ rate_10s: 0, last_seen_ms: 1e12 - agoMs, interval_ms }, 1e12);
  assertEquals(pace(null), "0");
  assertEquals(pace(9_999), "0");
  assertEquals(pace(10_000), "every 10 s");
  assertEquals(pace(297_000), "every 5 min");
  assertEquals(pace(300_000, 900_001), "0");
  assertEquals(pace(7_200_000), "every 2 h");
  assertEquals(pace(86_400_000 * 3), "every 3 d");
  assertStringIncludes(pace(119_000), "119 s");
});
