/**
 * Devices that went offline or came back, on the page.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Page } from "playwright-core";

import { delta } from "../support/batches.ts";
import { visit } from "../support/browser.ts";
import { temporaryStore } from "../support/harness.ts";
import { numberedIds, receive, receiveFor, reportIngest, startMonitor } from "../support/monitor.ts";
import { until } from "../support/until.ts";

const OFFLINE_AFTER_MS = 1_500;

const fleetEvents = (page: Page) => page.getByRole("region", { name: "Events" }).getByRole("listitem");

Deno.test("Events: a device that goes offline or comes back is listed at once, with a link to the device", async () => {
  const hostile = `<img src=x onerror="window.broken = true">\u202E`;
  const shown = hostile.replace("\u202E", "[U+202E]");
  await using store = await temporaryStore();
  await using monitor = await startMonitor(store, {
    offlineAfterMs: OFFLINE_AFTER_MS,
    watchIntervalMs: 50,
  });
  await using visitor = await visit(monitor.url);
  const { page } = visitor;
  // It sends until the page has shown that, however long that takes.
  await until(async () => {
    await receive(store, [delta(hostile, 1)]);
    return await page.getByText("No device has gone offline.").isVisible();
  }, "the page shows that no device has gone offline");

  const events = fleetEvents(page);
  await events.getByText(/^Offline, last seen \d+ s ago$/).waitFor();
  assertEquals(await events.count(), 1);
  await receive(store, [delta(hostile, 1)]);
  await events.getByText(/^Back online after \d+ s$/).waitFor();
  // The newest first; the one before it has an end now.
  assertStringIncludes(await events.nth(0).innerText(), shown);
  await events.nth(1).getByText(/^Offline, back after \d+ s$/).waitFor();
  assert(!await page.getByText("No device has gone offline.").isVisible());

  await receive(store, [delta("other", 1)]);
  await events.filter({ hasText: "other" }).first().waitFor();
  await events.filter({ hasText: shown }).first().getByRole("link").press("Enter");
  await page.getByRole("heading", { name: shown }).waitFor();
  const own = fleetEvents(page);
  await own.getByText(/^Back online after/).waitFor();
  assert(!(await own.allInnerTexts()).some((text) => text.includes("other")));
  const before = await own.count();
  await receive(store, [delta(hostile, 1)]);
  await until(async () => await own.count() > before, "its own list goes on");
  assertEquals(await page.evaluate("window.broken"), undefined);
  visitor.assertNoProblems();
});

Deno.test("Events: the list keeps its height, and is not updated while it is in use", async () => {
  await using store = await temporaryStore();
  const ids = Array.from({ length: 30 }, (_, i) => `device-${i}`);
  const now = Date.now();
  await receive(store, ids.map((id) => delta(id, 1)), now - 1_400_000);
  await using monitor = await startMonitor(store, { offlineAfterMs: 60_000, watchIntervalMs: 50 });
  await using visitor = await visit(monitor.url, { viewport: { width: 1280, height: 800 } });
  const { page } = visitor;
  await page.getByRole("table").waitFor();
  const top = async () => (await page.getByRole("heading", { name: "Devices" }).boundingBox())?.y;
  const before = await top();

  const events = fleetEvents(page);
  // One after the other, they have nothing to do with each other.
  for (const [i, id] of ids.entries()) await store.markOffline([id], now, now - (30 - i) * 40_000);
  await until(async () => await events.count() === 12, "the newest ones are shown");
  assertEquals(await top(), before);

  const first = events.nth(0).getByRole("link");
  await first.focus();
  const focused = await first.innerText();
  await receive(store, [delta("device-3", 1)]);
  await page.locator("#count", { hasText: "31" }).waitFor();
  await until(
    async () => (await (await fetch(`${monitor.url}fleet`)).json()).last_event_id > 30,
    "the api has the new event",
  );
  await page.locator("#fleet-events-held").waitFor();
  assertEquals(await page.evaluate("document.activeElement.textContent.trim()"), focused);
  assertEquals(await first.innerText(), focused);
  await page.getByRole("searchbox").focus();
  await events.nth(0).getByText(/^Back online/).waitFor();
  visitor.assertNoProblems();
});

Deno.test("Events: devices that go offline together are one group with their number, names, and how many are back", async () => {
  await using store = await temporaryStore();
  const ids = numberedIds(10_000);
  const now = Date.now();
  await receiveFor(store, ids, { fromMs: now - 300_000, toMs: now - 300_000, everyMs: 1, packets: 1 });
  await receive(store, [delta("alone", 1)], now - 7_200_000);
  await store.markOffline(["alone"], now, now - 7_000_000);
  // Their silence shows over ten seconds.
  for (let start = 0; start < ids.length; start += 1_000) {
    await store.markOffline(ids.slice(start, start + 1_000), now, now - 240_000 + start);
  }
  await reportIngest(store);
  await using monitor = await startMonitor(store, { watchIntervalMs: 50 });
  await using visitor = await visit(monitor.url);
  const { page } = visitor;

  const events = fleetEvents(page);
  const group = events.filter({ hasText: "Offline, last seen 5 min ago" });
  // The oldest of the 10,001 events is dropped: the group may have lost members too, for all that is known.
  await group.getByText("10,000 or more devices").waitFor();
  assertStringIncludes(await group.innerText(), "sensor-0000, sensor-0001, sensor-0002, …");
  assertEquals(await events.count(), 1);

  await group.getByText("10,000 or more devices").click();
  await until(async () => await group.getByRole("link").count() === 100, "its first members are listed");
  await group.getByText("and 9,900 more").waitFor();
  // It grows no second list, and stays open, while some come back.
  await receive(store, ids.slice(5_000, 5_040).map((id) => delta(id, 1)));
  await page.mouse.move(0, 0);
  await page.getByRole("searchbox").focus();
  await events.getByText("40 devices").waitFor();
  await page.getByText(/^Back online after up to 5 min$/).waitFor();
  await group.getByText(/, 40 back online$/).waitFor();
  assert(await group.locator("details").getAttribute("open") !== null);
  await group.getByRole("link", { name: "sensor-0077" }).click();
  await page.getByRole("heading", { name: "sensor-0077" }).waitFor();
  visitor.assertNoProblems();
});

Deno.test("Events: hostile ids in a group are shown as text, in its names and its members", async () => {
  await using store = await temporaryStore();
  const ids = [
    `<img src=x onerror="window.broken = true">`,
    "\u202Eexe.cod",
    `"><script>window.broken = true</script>`,
    "..",
  ];
  const now = Date.now();
  await receive(store, ids.map((id) => delta(id, 1)), now - 300_000);
  await store.markOffline(ids, now, now - 200_000);
  await reportIngest(store);
  await using monitor = await startMonitor(store);
  for (const address of ["", "?view=events"]) {
    await using visitor = await visit(monitor.url + address);
    const { page } = visitor;
    const group = page.locator("main:not([hidden]) .group");
    await group.getByText("4 devices").click();
    assertStringIncludes(
      await group.innerText(),
      `<img src=x onerror="window.broken = true">, [U+202E]exe.cod, `,
    );
    await until(async () => await group.getByRole("link").count() === 4, "its members are listed");
    assertEquals(await group.locator("img, script").count(), 0);
    assertEquals(await page.evaluate("window.broken"), undefined);
    await group.getByRole("link", { name: "..", exact: true }).click();
    await page.getByRole("heading", { name: "..", exact: true }).waitFor();
    visitor.assertNoProblems();
  }
});

Deno.test("/?view=events filters by kind and part of the id, as in its address", async () => {
  await using store = await temporaryStore();
  const now = Date.now();
  const pumps = numberedIds(150, "Pump-");
  await receiveFor(store, pumps, {
    fromMs: now - 80_000_000,
    toMs: now - 80_000_000,
    everyMs: 1,
    packets: 1,
  });
  // Hours of them: each goes and comes back, 8 minutes apart.
  for (const [i, id] of pumps.entries()) {
    await store.markOffline([id], now, now - 79_000_000 + i * 480_000);
    await receive(store, [delta(id, 1)], now - 78_800_000 + i * 480_000);
  }
  await reportIngest(store);
  await using monitor = await startMonitor(store, { offlineAfterMs: 86_400_000 });
  await using visitor = await visit(monitor.url);
  const { page } = visitor;
  await page.getByRole("link", { name: "All events" }).click();
  await page.getByRole("heading", { name: "Events", level: 1 }).waitFor();
  const events = page.locator("#all-events > li");
  await page.getByText("300 entries of 300 events").waitFor();
  assertEquals(await events.count(), 50);
  assertEquals(await page.title(), "Events · Tally");
  await page.getByRole("button", { name: "Show more" }).click();
  await until(async () => await events.count() === 100, "there are more");

  await page.getByRole("radio", { name: "Offline" }).check();
  await page.getByText("150 entries of 300 events, filtered").waitFor();
  await page.getByRole("searchbox").fill("pUMP-14");
  await page.getByText("10 entries of 300 events, filtered").waitFor();
  assertEquals(new URL(page.url()).search, "?view=events&kind=offline&search=pUMP-14");
  await page.reload();
  await page.getByText("10 entries of 300 events, filtered").waitFor();
  await page.goBack();
  await page.getByText("150 entries of 300 events, filtered").waitFor();
  await page.goBack();
  await page.getByText("300 entries of 300 events", { exact: true }).waitFor();
  await page.getByRole("link", { name: "All devices" }).click();
  await page.getByRole("table").waitFor();
  visitor.assertNoProblems();
});

Deno.test("FleetEvents continues after the store was emptied, and requests only the newest of very many events", async () => {
  await using store = await temporaryStore();
  const ids = numberedIds(4);
  const now = Date.now();
  await receiveFor(store, ids, { fromMs: now - 300_000, toMs: now - 300_000, everyMs: 1, packets: 1 });
  await store.markOffline(ids, now, now - 200_000);
  await reportIngest(store);
  const first = await startMonitor(store, { watchIntervalMs: 50 });
  await using visitor = await visit(first.url);
  const { page } = visitor;
  await fleetEvents(page).getByText("4 devices").waitFor();
  await first[Symbol.asyncDispose]();

  await using emptied = await temporaryStore();
  await receiveFor(emptied, ["other"], {
    fromMs: now - 300_000,
    toMs: now - 300_000,
    everyMs: 1,
    packets: 1,
  });
  await emptied.markOffline(["other"], now, now - 100_000);
  await reportIngest(emptied);
  await using _second = await startMonitor(emptied, { port: first.port, watchIntervalMs: 50 });
  await fleetEvents(page).getByRole("link", { name: "other" }).waitFor();
  assertEquals(await fleetEvents(page).count(), 1);
  visitor.assertNoProblems(["net::ERR_", "503"]);
});
