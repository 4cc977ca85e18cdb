/**
 * Rows of the page as text: marked, copied, found, and still while they are used.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Locator, Page } from "playwright-core";

import { delta } from "../support/batches.ts";
import { visit } from "../support/browser.ts";
import { temporaryStore } from "../support/harness.ts";
import { receive, receiveFor, reportIngest, startMonitor } from "../support/monitor.ts";
import { until } from "../support/until.ts";

const idsOf = (page: Page) => page.locator("tbody th").allInnerTexts();
const rowOf = (page: Page, part: string) =>
  page.locator("tbody tr").filter({ has: page.locator("th", { hasText: part }) });
const marked = (page: Page) => page.evaluate<string>("String(getSelection())");
const clipboard = { permissions: ["clipboard-read", "clipboard-write"] };

/** Drags from the left edge of an element over `width` pixels of it. */
async function dragOver(page: Page, element: Locator, width: number): Promise<void> {
  const box = (await element.boundingBox())!;
  const y = box.y + box.height / 2;
  await page.mouse.move(box.x + 1, y);
  await page.mouse.down();
  await page.mouse.move(box.x + width / 2, y);
  await page.mouse.move(box.x + width, y);
  await page.mouse.up();
}

/** Resolves when a click that navigates has done so: by a timer of the page that is over after its own. */
const settle = (page: Page) => page.evaluate("new Promise((resolve) => setTimeout(resolve, 300))");

Deno.test("Table rows: dragging and a double click select text and stay on the page; a click opens the device", async () => {
  await using store = await temporaryStore();
  await receive(store, [delta("boiler-room-pump", 1, 1000, "word1 word2"), delta("other", 2)]);
  await reportIngest(store);
  await using monitor = await startMonitor(store);
  await using visitor = await visit(monitor.url);
  const { page } = visitor;
  const row = rowOf(page, "boiler-room-pump");
  const overview = page.url();

  for (
    const [element, width, text] of [[row.getByRole("link"), 60, /^bo\w+/], [
      row.locator("td.col-payload bdi"),
      50,
      /^wor/,
    ]] as const
  ) {
    await dragOver(page, element, width);
    await settle(page);
    assertMatch(await marked(page), text);
    assertEquals(page.url(), overview);
  }
  await row.locator("td.col-payload bdi").dblclick({ position: { x: 5, y: 5 } });
  await settle(page);
  assertEquals((await marked(page)).trim(), "word1");
  assertEquals(page.url(), overview);
  // What is marked stays, though rows are read anew every few seconds.
  await receive(store, [delta("another", 1)]);
  await page.locator("#count", { hasText: "4" }).waitFor();
  assertEquals((await marked(page)).trim(), "word1");

  await page.getByRole("searchbox").click();
  await row.locator("td.col-count").click();
  await page.getByRole("heading", { name: "boiler-room-pump" }).waitFor();
  visitor.assertNoProblems();
});

Deno.test("Table, device view and events: each id has a copy button and a tooltip with the whole id", async () => {
  const long = `plant/${"x".repeat(120)}`;
  const hostile = "evil\nrm -rf \u202e~";
  await using store = await temporaryStore();
  const now = Date.now();
  await receive(store, [delta(long, 1), delta(hostile, 1)], now - 100_000);
  await store.markOffline([long], now, now);
  await reportIngest(store);
  await using monitor = await startMonitor(store, { offlineAfterMs: 60_000 });
  await using visitor = await visit(monitor.url, clipboard);
  const { page } = visitor;
  const copied = () => page.evaluate<string>("navigator.clipboard.readText()");

  const link = rowOf(page, "plant/").getByRole("link");
  assertEquals(await link.getAttribute("title"), long);
  await rowOf(page, "plant/").hover();
  await rowOf(page, "plant/").getByRole("button", { name: `Copy ${long}` }).click();
  await page.locator("#announcement", { hasText: /^Copied$/ }).waitFor();
  assertEquals(await copied(), long);
  assertEquals(new URL(page.url()).search, "");

  // Pasted into a terminal, a line break would run what is before it.
  await rowOf(page, "evil").hover();
  await rowOf(page, "evil").getByRole("button", { name: "Copy evil␊rm -rf [U+202E]~" }).click();
  await page.locator("#announcement", { hasText: "Copied as a JSON string" }).waitFor();
  assertEquals(JSON.parse(await copied()), hostile);
  assert(!/[\n\r]/.test(await copied()));

  const event = page.getByRole("region", { name: "Events" }).getByRole("listitem");
  await event.hover();
  assertEquals(await event.getByRole("link").getAttribute("title"), long);
  await event.getByRole("button", { name: `Copy ${long}` }).click();
  await until(async () => await copied() === long, "the event's id is copied");
  await page.evaluate("navigator.clipboard.writeText('')");
  await link.click();
  await until(
    async () => await page.locator("#device-id").getAttribute("title") === long,
    "the view's title has the whole id",
  );
  await page.locator("#device").getByRole("button", { name: `Copy ${long}` }).click();
  await until(async () => await copied() === long, "the view's id is copied");
  visitor.assertNoProblems();
});

Deno.test("Copy buttons work on pages without the Clipboard API (plain http)", async () => {
  await using store = await temporaryStore();
  await receive(store, [delta("pump-7", 1)]);
  await reportIngest(store);
  await using monitor = await startMonitor(store);
  await using visitor = await visit("about:blank", clipboard);
  const { page } = visitor;
  await page.addInitScript(`
    window.real = navigator.clipboard;
    Object.defineProperty(navigator, "clipboard", { value: undefined });
  `);
  await page.goto(monitor.url);
  const button = rowOf(page, "pump-7").getByRole("button", { name: "Copy pump-7" });
  await button.focus();
  await page.keyboard.press("Enter");
  await page.locator("#announcement", { hasText: /^Copied$/ }).waitFor();
  assertEquals(await page.evaluate("window.real.readText()"), "pump-7");
  assertEquals(await page.evaluate("document.activeElement.dataset.copy"), "pump-7");
});

Deno.test("Table: row order is held, with a note, while the pointer or the focus is in it", async () => {
  await using store = await temporaryStore();
  await receive(store, [delta("a", 30), delta("b", 20), delta("c", 10)]);
  await reportIngest(store);
  await using monitor = await startMonitor(store);
  await using visitor = await visit(`${monitor.url}?sort=count&order=desc`);
  const { page } = visitor;
  await until(async () => (await idsOf(page)).join() === "a,b,c", "the greatest total is first");
  const note = page.locator("#held");

  await rowOf(page, "b").locator(".col-count").hover();
  await receive(store, [delta("c", 100)]);
  await note.waitFor();
  assertEquals((await idsOf(page)).join(), "a,b,c");
  // Figures go on.
  await rowOf(page, "c").getByText("110", { exact: true }).waitFor();
  await page.mouse.move(5, 5);
  await until(async () => (await idsOf(page)).join() === "c,a,b", "it is sorted when the pointer has left");
  assert(!await note.isVisible());

  await rowOf(page, "a").getByRole("link").focus();
  await receive(store, [delta("b", 1_000)]);
  await note.waitFor();
  assertEquals((await idsOf(page)).join(), "c,a,b");
  await page.getByRole("searchbox").focus();
  await until(async () => (await idsOf(page)).join() === "b,c,a", "it is sorted when the focus has left");
  assert(!await note.isVisible());
  visitor.assertNoProblems();
});

Deno.test("Table search finds any part of an id in any case, among 100,000 devices", async () => {
  await using store = await temporaryStore();
  const ids = Array.from({ length: 100_000 }, (_, i) => `Hall-${i % 7}/sensor-${i}`);
  await receiveFor(store, ids, { fromMs: Date.now(), toMs: Date.now(), everyMs: 60_000, packets: 1 });
  await receive(store, [delta("Überdruck-VENTIL", 1), delta("100%_literal.*", 1)]);
  await reportIngest(store);
  await using monitor = await startMonitor(store);
  await using visitor = await visit(monitor.url);
  const { page } = visitor;
  const search = page.getByRole("searchbox");
  for (
    const [text, first, total] of [
      ["SENSOR-4711", "Hall-0/sensor-4711", "1–11 of 11"],
      ["überdruck-v", "Überdruck-VENTIL", "1–1 of 1"],
      ["0%_LITERAL.*", "100%_literal.*", "1–1 of 1"],
      ["all-3/", "Hall-3/sensor-10", "1–50 of 14,286"],
    ] as const
  ) {
    await search.fill(text);
    await page.getByText(total, { exact: true }).waitFor();
    await until(async () => (await idsOf(page))[0] === first, `${first} is found with ${text}`);
  }
  await search.fill("nothing like it");
  await page.getByText("No device matches.").waitFor();
  visitor.assertNoProblems();
});
