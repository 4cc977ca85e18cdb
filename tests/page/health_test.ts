/**
 * What the page says of a fleet that needs someone: in words, colours, the document's title and its icon.
 */
import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import type { Page } from "playwright-core";

import { unmeasuredHealth } from "../../src/store/store_clock.ts";
import { delta } from "../support/batches.ts";
import { visit } from "../support/browser.ts";
import { temporaryStore } from "../support/harness.ts";
import { numberedIds, receive, receiveFor, reportIngest, startMonitor } from "../support/monitor.ts";
import { until } from "../support/until.ts";

const HEALTHY_ICON = "/page/icon.svg", ALERT_ICON = "/page/icon_alert.svg";

const colorOf = (page: Page, selector: string) =>
  page.evaluate<string>(`getComputedStyle(document.querySelector(${JSON.stringify(selector)})).color`);

const markColor = (page: Page) =>
  page.evaluate<string>(
    `getComputedStyle(document.getElementById("connection"), "::before").backgroundColor`,
  );

async function untilShown(page: Page, title: string, icon: string): Promise<void> {
  await until(async () => await page.title() === title, `the title is ${title}`).catch(async (error) => {
    throw new Error(`${error.message}; it is ${await page.title()}`);
  });
  assertEquals(await page.locator("link[rel=icon]").getAttribute("href"), icon);
}

Deno.test("No device online: warning in text, share, colours, title and icon", async () => {
  await using store = await temporaryStore();
  const ids = numberedIds(1_003);
  const now = Date.now();
  await receiveFor(store, ids, {
    fromMs: now - 7_200_000,
    toMs: now - 600_000,
    everyMs: 3_300_000,
    packets: 1,
  });
  await reportIngest(store);
  await using monitor = await startMonitor(store);
  await using visitor = await visit(monitor.url);
  const { page } = visitor;

  await untilShown(page, "Fleet offline · 0 of 1,003 online · Tally", ALERT_ICON);
  assertEquals(await page.locator("#connection").innerText(), "Live, fleet offline");
  assertEquals(await page.getByRole("alert").innerText(), "No device is online.");
  assertEquals(await page.locator("#online-note").innerText(), "0 % of 1,003");
  const ink = await colorOf(page, "#count");
  assertNotEquals(await colorOf(page, "#online"), ink);
  assertNotEquals(await colorOf(page, "#offline"), ink);
  assertNotEquals(await colorOf(page, "#connection"), ink);
  assertEquals(await markColor(page), "rgba(0, 0, 0, 0)");
  const icon = await fetch(new URL(ALERT_ICON, monitor.url));
  assertEquals([icon.status, icon.headers.get("content-type")], [200, "image/svg+xml"]);
  await icon.body?.cancel();

  // Most of it is back: that is a lesser warning. All of it: none.
  await receive(store, ids.slice(0, 800).map((id) => delta(id, 1)));
  await untilShown(page, "Many offline · 800 of 1,003 online · Tally", ALERT_ICON);
  assertEquals(
    await page.getByRole("alert").innerText(),
    "Many devices are offline: more than 20 % of the fleet.",
  );
  assertEquals(await page.locator("#online-note").innerText(), "80 % of 1,003");
  assertEquals(await colorOf(page, "#online"), ink);
  await receive(store, ids.slice(800).map((id) => delta(id, 1)));
  await untilShown(page, "1,003 online · Tally", HEALTHY_ICON);
  assert(!await page.getByRole("alert").isVisible());
  assertEquals(await page.locator("#connection").innerText(), "Live");
  assertNotEquals(await markColor(page), "rgba(0, 0, 0, 0)");
  visitor.assertNoProblems();
});

Deno.test("No ingest process: warning on every view, until one reports", async () => {
  await using store = await temporaryStore();
  await receive(store, [delta("pump", 1)]);
  await using monitor = await startMonitor(store);
  await using visitor = await visit(monitor.url);
  const { page } = visitor;
  await untilShown(page, "No ingest · 1 of 1 online · Tally", ALERT_ICON);
  assertEquals(
    await page.getByRole("alert").innerText(),
    "No ingest process reports to the store: devices cannot send.",
  );
  await page.getByRole("link", { name: "pump" }).click();
  await untilShown(page, "No ingest · pump · Tally", ALERT_ICON);
  await page.getByRole("link", { name: "Events" }).click();
  await untilShown(page, "No ingest · Events · Tally", ALERT_ICON);
  await reportIngest(store);
  await untilShown(page, "Events · Tally", HEALTHY_ICON);
  assert(!await page.getByRole("alert").isVisible());
  visitor.assertNoProblems();
});

Deno.test("healthOf(): counts that are late are a line first, then a warning; /fleet and /metrics have by how much", async () => {
  await using store = await temporaryStore();
  await receive(store, [delta("pump", 1)]);
  await reportIngest(store);
  let countsLateMs = 12_000;
  const storeHealth = () => ({ ...unmeasuredHealth, countsLateMs });
  await using monitor = await startMonitor(store, { storeHealth });
  await using visitor = await visit(monitor.url);
  const { page } = visitor;
  const line = page.locator("#store");
  await until(async () => (await line.innerText()).endsWith(", counts are 12 s late"), "by how much");
  await untilShown(page, "1 online · Tally", HEALTHY_ICON);
  assertEquals((await (await fetch(`${monitor.url}fleet`)).json()).store.counts_late_ms, 12_000);
  const metrics = await fetch(`${monitor.url}metrics`, { headers: { accept: "text/plain" } });
  assertStringIncludes(await metrics.text(), "\ntally_counts_late_seconds 12\n");

  countsLateMs = 61_000;
  await untilShown(page, "Counts late · 1 of 1 online · Tally", ALERT_ICON);
  assertStringIncludes(await page.getByRole("alert").innerText(), "more than a minute late");
  countsLateMs = 0;
  await untilShown(page, "1 online · Tally", HEALTHY_ICON);
  assert(!(await line.innerText()).includes("late"));
  visitor.assertNoProblems();
});

Deno.test("healthOf(): no warning for a new, empty store", async () => {
  await using store = await temporaryStore();
  await using monitor = await startMonitor(store);
  await using visitor = await visit(monitor.url);
  const { page } = visitor;
  await page.getByRole("heading", { name: "No packets yet" }).waitFor();
  await untilShown(page, "0 online · Tally", HEALTHY_ICON);
  assert(!await page.getByRole("alert").isVisible());
  assertEquals(await page.locator("#connection").innerText(), "Live");
  visitor.assertNoProblems();
});

Deno.test("/live cut: warning while the connection is lost, and not after that", async () => {
  await using store = await temporaryStore();
  await receive(store, [delta("pump", 1)]);
  await reportIngest(store);
  const first = await startMonitor(store);
  await using visitor = await visit(first.url);
  const { page } = visitor;
  await untilShown(page, "1 online · Tally", HEALTHY_ICON);
  await first[Symbol.asyncDispose]();
  await untilShown(page, "Reconnecting · Fleet · Tally", ALERT_ICON);
  assertStringIncludes(await page.getByRole("alert").innerText(), "The connection to Tally is lost.");
  await using _second = await startMonitor(store, { port: first.port });
  await untilShown(page, "1 online · Tally", HEALTHY_ICON);
  visitor.assertNoProblems(["net::ERR_", "503"]);
});

Deno.test("Title and icon show warnings also while the page is hidden", async () => {
  await using store = await temporaryStore();
  await reportIngest(store);
  const sending = setInterval(() => receive(store, [delta("pump", 1)]), 500);
  const monitor = await startMonitor(store, { offlineAfterMs: 4000 });
  await using visitor = await visit("about:blank");
  const { page } = visitor;
  await page.clock.install();
  await page.goto(monitor.url);
  await untilShown(page, "1 online · Tally", HEALTHY_ICON);
  const hide = (isHidden: boolean) =>
    page.evaluate(`
      Object.defineProperty(document, "hidden", { configurable: true, get: () => ${isHidden} });
      document.dispatchEvent(new Event("visibilitychange"));
    `);
  await hide(true);
  clearInterval(sending);
  await until(async () => {
    const response = await fetch(new URL("/fleet", monitor.url));
    return (await response.json()).online === 0;
  }, "the device is offline");
  await reportIngest(store);
  await page.clock.fastForward(31_000);
  await untilShown(page, "Fleet offline · 0 of 1 online · Tally", ALERT_ICON);
  await monitor[Symbol.asyncDispose]();
  await page.clock.fastForward(31_000);
  await untilShown(page, "Reconnecting · Fleet · Tally", ALERT_ICON);
  await reportIngest(store);
  await receive(store, [delta("pump", 1)]);
  await using _second = await startMonitor(store, { port: monitor.port });
  await page.clock.fastForward(31_000);
  await untilShown(page, "1 online · Tally", HEALTHY_ICON);
  await hide(false);
  await page.locator("#connection", { hasText: "Live" }).waitFor();
});
