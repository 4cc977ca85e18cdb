/**
 * Devices that went silent or came back, on the page.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Page } from "playwright-core";

import { delta } from "./batches.ts";
import { visit } from "./browser.ts";
import { temporaryStore } from "./harness.ts";
import { receive, startMonitor } from "./monitor.ts";
import { until } from "./until.ts";

const OFFLINE_AFTER_MS = 1_500;

const fleetEvents = (page: Page) =>
  page.getByRole("region", { name: "Went silent, came back" }).getByRole("listitem");

Deno.test("Who went silent and who came back is listed as it happens, and leads to the device", async () => {
  const hostile = `<img src=x onerror="window.broken = true">\u202E`;
  const shown = hostile.replace("\u202E", "[U+202E]");
  await using store = await temporaryStore();
  await receive(store, [delta(hostile, 1)]);
  await using monitor = await startMonitor(store, {
    offlineAfterMs: OFFLINE_AFTER_MS,
    watchIntervalMs: 50,
  });
  await using visitor = await visit(monitor.url);
  const { page } = visitor;
  await page.getByText("No device has gone silent.").waitFor();

  const events = fleetEvents(page);
  await events.getByText(/^Went silent \d+ s ago$/).waitFor();
  assertEquals(await events.count(), 1);
  await receive(store, [delta(hostile, 1)]);
  await events.getByText(/^Came back after \d+ s$/).waitFor();
  // The newest first; the one before it has an end now.
  assertStringIncludes(await events.nth(0).innerText(), shown);
  await events.nth(1).getByText(/^Went silent, for \d+ s$/).waitFor();
  assert(!await page.getByText("No device has gone silent.").isVisible());

  await receive(store, [delta("other", 1)]);
  await events.filter({ hasText: "other" }).first().waitFor();
  await events.filter({ hasText: shown }).first().getByRole("link").press("Enter");
  await page.getByRole("heading", { name: shown }).waitFor();
  const own = fleetEvents(page);
  await own.getByText(/^Came back after/).waitFor();
  assert(!(await own.allInnerTexts()).some((text) => text.includes("other")));
  const before = await own.count();
  await receive(store, [delta(hostile, 1)]);
  await until(async () => await own.count() > before, "its own list goes on");
  assertEquals(await page.evaluate("window.broken"), undefined);
  visitor.assertNoProblems();
});

Deno.test("The list of events stays as short as it is, moves nothing below it, and is still while it is used", async () => {
  await using store = await temporaryStore();
  const ids = Array.from({ length: 30 }, (_, i) => `device-${i}`);
  await receive(store, ids.map((id) => delta(id, 1)));
  await using monitor = await startMonitor(store, { offlineAfterMs: 60_000, watchIntervalMs: 50 });
  await using visitor = await visit(monitor.url, { viewport: { width: 1280, height: 800 } });
  const { page } = visitor;
  await page.getByRole("table").waitFor();
  const top = async () => (await page.getByRole("heading", { name: "Devices" }).boundingBox())?.y;
  const before = await top();

  const events = fleetEvents(page);
  const now = Date.now() + 60_001;
  await store.markOffline(ids, now - 60_000, now);
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
  // Its times go on, so that the page had the news and time to show it.
  const secondsAgo = async () => Number(/(\d+) s ago/.exec(await events.nth(0).innerText())?.[1]);
  const since = await secondsAgo();
  await until(async () => await secondsAgo() >= since + 2, "time has passed");
  assertEquals(await page.evaluate("document.activeElement.textContent.trim()"), focused);
  assertEquals(await first.innerText(), focused);
  await page.getByRole("searchbox").focus();
  await events.nth(0).getByText(/^Came back/).waitFor();
  visitor.assertNoProblems();
});
