/**
 * What devices measure, on the page: charts in the view of a device, columns in the table.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { Page } from "playwright-core";

import type { Store } from "../../src/store/store.ts";
import { delta } from "../support/batches.ts";
import { visit } from "../support/browser.ts";
import { temporaryStore } from "../support/harness.ts";
import { numberedIds, receive, reportIngest, startMonitor, untilFolded } from "../support/monitor.ts";
import { until } from "../support/until.ts";

const MINUTE_MS = 60_000;

/** Stores one packet of each device with this payload, as JSON, received at `atMs`. */
async function measure(store: Store, measured: Record<string, unknown>, atMs = Date.now()): Promise<void> {
  const devices = Object.entries(measured).map(([id, payload]) =>
    delta(id, 1, atMs, JSON.stringify(payload))
  );
  await receive(store, devices, atMs);
  await untilFolded(store);
}

/** Half an hour of a greenhouse, a sample every minute; its temperature falls from 30 to 20. */
async function greenhouse(store: Store): Promise<void> {
  const now = Date.now();
  for (let minute = 30; minute > 0; minute--) {
    const payload = { temperature_c: 20 + minute / 3, humidity: 50, door: minute % 2 === 0, fw: "1.2<b>" };
    await measure(store, { "greenhouse-1": payload }, now - minute * MINUTE_MS);
  }
  await reportIngest(store);
}

const chartOf = (page: Page, name: string) => page.getByRole("region", { name, exact: true });
const widestElement = `document.documentElement.scrollWidth - document.documentElement.clientWidth`;
const parameters = (page: Page) => Object.fromEntries(new URL(page.url()).searchParams);
const idsOf = (page: Page) => page.locator("tbody th").allInnerTexts();

Deno.test("Device view: each value has a chart with a band, its latest number and unit, which move with each packet", async () => {
  await using store = await temporaryStore();
  await greenhouse(store);
  await using monitor = await startMonitor(store);
  await using visitor = await visit(`${monitor.url}?device=greenhouse-1`);
  const { page } = visitor;
  const chart = chartOf(page, "temperature_c");
  await chart.locator("path.line").waitFor({ state: "attached" });
  assertEquals(await chart.locator("b").innerText(), "20.3333 °C");
  await until(
    async () => (await chart.locator("path.line").getAttribute("d"))!.split("L").length >= 30,
    "30 points",
  );
  assertMatch((await chart.locator("path.band").getAttribute("d"))!, /^M[\d. L]+Z$/);
  assertMatch(
    (await chart.locator("svg").getAttribute("aria-label"))!,
    /^temperature_c from .*: latest 20\.33 °C, lowest 20\.33 °C, highest 30 °C\. Arrow keys read values\.$/,
  );
  assertEquals(await chartOf(page, "door").locator("b").innerText(), "0");
  assertStringIncludes(await page.getByRole("region", { name: "Attributes" }).innerText(), "1.2<b>");

  const before = await chart.locator("path.line").getAttribute("d");
  await page.evaluate("window.notReloaded = true");
  await measure(store, { "greenhouse-1": { temperature_c: 41.5 } });
  await chart.locator("b", { hasText: "41.5 °C" }).waitFor({ timeout: 5_000 });
  await until(async () => await chart.locator("path.line").getAttribute("d") !== before, "the line moves");

  await measure(store, { "greenhouse-1": { wind_mps: 3 } });
  await chartOf(page, "wind_mps").locator("b", { hasText: "3 m/s" }).waitFor();
  assert(await page.evaluate("window.notReloaded"));
  visitor.assertNoProblems();
});

Deno.test("Device view: the cursor moves in step over all charts, by pointer and by keyboard", async () => {
  await using store = await temporaryStore();
  await greenhouse(store);
  await using monitor = await startMonitor(store);
  await using visitor = await visit(`${monitor.url}?device=greenhouse-1`, {
    viewport: { width: 1280, height: 1200 },
  });
  const { page } = visitor;
  const charts = ["Packets per minute", "temperature_c", "humidity", "door"];
  const times = async () => {
    const readings = await Promise.all(
      charts.map((name) => chartOf(page, name).locator("output").innerText()),
    );
    return readings.map((text) => /^\d\d:\d\d(?= )/.exec(text)?.[0]);
  };
  await chartOf(page, "door").locator("path.line").waitFor({ state: "attached" });
  await chartOf(page, "humidity").locator(".chart").hover();
  const [pointed] = await times();
  assert(pointed !== undefined);
  assertEquals(await times(), charts.map(() => pointed));

  await chartOf(page, "temperature_c").locator("svg").focus();
  await page.keyboard.press("Home");
  const [first] = await times();
  assertEquals(await times(), charts.map(() => first));
  assertMatch(await chartOf(page, "temperature_c").locator("output").innerText(), / {2}30 °C$/);
  await page.keyboard.press("ArrowRight");
  const [second] = await times();
  assertEquals(await times(), charts.map(() => second));
  assert(second !== first);
  // Only the reading of the focused chart is announced.
  const live = (name: string) => chartOf(page, name).locator("output").getAttribute("aria-live");
  assertEquals([await live("temperature_c"), await live("door")], ["polite", "off"]);
  await page.keyboard.press("Tab");
  await until(
    async () => !await chartOf(page, "humidity").locator("output").isVisible(),
    "the readings are gone",
  );
  visitor.assertNoProblems();
});

Deno.test("Device view: a tag sets the unit of a value", async () => {
  await using store = await temporaryStore();
  await greenhouse(store);
  await using monitor = await startMonitor(store);
  const response = await fetch(`${monitor.url}devices/greenhouse-1`, {
    method: "PATCH",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ tags: { "unit.humidity": "g/m³ <i>", "unit.temperature_c": "K" } }),
  });
  assertEquals(response.status, 200, await response.text());
  await using visitor = await visit(`${monitor.url}?device=greenhouse-1`);
  const { page } = visitor;
  await chartOf(page, "humidity").locator("b", { hasText: "50 g/m³ <i>" }).waitFor();
  await chartOf(page, "temperature_c").locator("b", { hasText: "20.3333 K" }).waitFor();
  visitor.assertNoProblems();
});

Deno.test("Device view on a dark phone: hostile names and the greatest and smallest numbers are shown as they are", async () => {
  const names = [
    `<img src=x onerror="window.broken = true">`,
    "__proto__",
    "constructor",
    "..",
    ".",
    "by-id",
    "a/b?c=d&e#f%41",
    "\u202Eexe.cod_c",
    "x".repeat(64),
    "درجة",
    "_c",
    "",
  ];
  await using store = await temporaryStore();
  const now = Date.now();
  const numbers = [
    1.7976931348623157e308,
    -1.7976931348623157e308,
    5e-324,
    0,
    1e16,
    1e16 + 2,
    -1e-7,
    123456.789,
  ];
  for (const [i, number] of numbers.entries()) {
    const text = `{${names.map((name) => `${JSON.stringify(name)}:${number}`).join()}}`;
    await receive(store, [delta("hostile", 1, now, text)], now - (numbers.length - i) * MINUTE_MS);
    await untilFolded(store);
  }
  await reportIngest(store);
  await using monitor = await startMonitor(store);
  await using visitor = await visit(`${monitor.url}?device=hostile`, {
    colorScheme: "dark",
    viewport: { width: 375, height: 812 },
    isMobile: true,
    hasTouch: true,
  });
  const { page } = visitor;
  const kept = ["[U+202E]exe.cod_c", ...names.filter((name) => name !== "" && !name.startsWith("\u202E"))];
  for (const name of kept) {
    const chart = chartOf(page, name);
    await chart.locator("path.line").waitFor({ state: "attached" });
    assertEquals(await chart.locator("bdi").innerText(), name);
    await until(
      async () => (await chart.locator("path.line").getAttribute("d"))!.includes("L"),
      `${name} is drawn`,
    );
    assert(!/NaN|Infinity|undefined/.test(await chart.innerHTML()), name);
    await chart.locator("svg").focus();
    await page.keyboard.press("Home");
    assertMatch(await chart.locator("output").innerText(), /^\d\d:\d\d {2}-?[\d.,]+(E-?\d+)?( °C)?$/);
    assertMatch(await chart.locator("b").innerText(), /^123,457( °C)?$/);
  }
  assertEquals(await page.evaluate(widestElement), 0);
  assertEquals(await page.evaluate("window.broken"), undefined);
  assertEquals(await page.locator("main img, main script").count(), 0);
  visitor.assertNoProblems();
});

Deno.test("Table: columns of values are chosen, sorted by, kept in the address, and live", async () => {
  await using store = await temporaryStore();
  const ids = numberedIds(60, "pump-");
  await measure(
    store,
    Object.fromEntries(ids.map((id, i) => [id, { temperature_c: i * 37 % 60, "<i>": i, "a,b": 1 }])),
  );
  await measure(store, { bare: "no number" });
  await reportIngest(store);
  await using monitor = await startMonitor(store);
  await using visitor = await visit(monitor.url, { permissions: ["clipboard-read", "clipboard-write"] });
  const { page } = visitor;
  await page.getByText("1–50 of 61", { exact: true }).waitFor();

  await page.locator("#columns summary").focus();
  await page.keyboard.press("Enter");
  await page.getByRole("checkbox", { name: "temperature_c" }).focus();
  await page.keyboard.press("Space");
  const header = page.getByRole("columnheader", { name: "temperature_c" });
  await header.waitFor();
  await page.getByRole("checkbox", { name: "<i>" }).check();
  await page.getByRole("columnheader", { name: "<i>" }).waitFor();
  const comma = page.getByRole("checkbox", { name: "a,b" });
  await comma.check();
  await page.getByRole("columnheader", { name: "a,b" }).waitFor();
  assertEquals(parameters(page), { columns: "temperature_c,<i>,a\\,b" });
  await page.reload();
  await page.getByRole("columnheader", { name: "a,b" }).waitFor();
  await page.locator("#columns summary").focus();
  await page.keyboard.press("Enter");
  await comma.uncheck();
  await page.getByRole("columnheader", { name: "a,b" }).waitFor({ state: "detached" });
  await page.keyboard.press("Escape");
  assert(!await page.getByRole("checkbox").first().isVisible());
  assertEquals(await page.evaluate("document.activeElement.textContent"), "Columns");
  assertEquals(parameters(page), { columns: "temperature_c,<i>" });

  await header.getByRole("button").click();
  await until(async () => (await idsOf(page))[0] === "pump-47", "the greatest value is first");
  assertEquals(await header.getAttribute("aria-sort"), "descending");
  const row = page.locator("tbody tr").first();
  await row.getByRole("cell", { name: "59 °C" }).waitFor();
  await row.getByRole("cell", { name: "47", exact: true }).waitFor();
  assertEquals(parameters(page), {
    columns: "temperature_c,<i>",
    sort: "value:temperature_c",
    order: "desc",
  });

  // A value moves in its row, and with it the order.
  await page.mouse.move(0, 0);
  await measure(store, { "pump-05": { temperature_c: 99.5 } });
  await until(async () => (await idsOf(page))[0] === "pump-05", "the order follows");
  await page.locator("tbody tr", { hasText: "pump-05" }).getByRole("cell", { name: "99.5 °C" }).waitFor();
  await header.getByRole("button").click();
  await until(async () => (await idsOf(page))[0] === "pump-00", "the least value is first");

  await page.locator("#columns summary").click();
  await page.getByRole("button", { name: "Copy link" }).click();
  await page.getByRole("button", { name: "Copied" }).waitFor();
  const link = await page.evaluate<string>("navigator.clipboard.readText()");
  await using other = await visit(link);
  await other.page.getByRole("columnheader", { name: "temperature_c" }).waitFor();
  await until(async () => (await idsOf(other.page))[0] === "pump-00", "the link shows the same order");
  await other.page.getByRole("button", { name: "Next" }).click();
  await other.page.getByText("51–61 of 61", { exact: true }).waitFor();
  assertEquals((await idsOf(other.page)).at(-1), "bare");
  await other.page.locator("tbody tr", { hasText: "bare" }).getByRole("cell", { name: "–" }).first()
    .waitFor();
  other.assertNoProblems();

  // Without its column, the order is that of the ids.
  await page.getByRole("checkbox", { name: "temperature_c" }).uncheck();
  await until(async () => (await idsOf(page))[0] === "bare", "the order is by id");
  assertEquals(parameters(page), { columns: "<i>" });
  await page.goBack();
  await header.waitFor();
  await until(async () => (await idsOf(page))[0] === "pump-00", "back shows the column and its order");
  visitor.assertNoProblems();
});

Deno.test("Table of 100,000 devices: a column of values is shown and sorted by, on a desk and on a dark phone", async () => {
  await using store = await temporaryStore();
  const ids = numberedIds(100_000);
  for (let from = 0; from < ids.length; from += 5_000) {
    const part = ids.slice(from, from + 5_000);
    await measure(
      store,
      Object.fromEntries(part.map((id, i) => [id, { temperature: (from + i) * 7919 % 100_003 / 100 }])),
    );
  }
  await measure(store, { "sensor-77777": { temperature: 5_000 } });
  await reportIngest(store);
  await using monitor = await startMonitor(store);
  for (
    const options of [
      {},
      { colorScheme: "dark", viewport: { width: 375, height: 812 }, isMobile: true } as const,
    ]
  ) {
    await using visitor = await visit(
      `${monitor.url}?columns=temperature&sort=value:temperature&order=desc`,
      options,
    );
    const { page } = visitor;
    await until(async () => (await idsOf(page))[0] === "sensor-77777", "the greatest value is first", 30);
    await page.locator("tbody tr").first().getByRole("cell", { name: "5,000" }).waitFor();
    assertEquals(await page.locator("tbody tr").count(), 50);
    assertEquals(await page.evaluate(widestElement), 0);
    visitor.assertNoProblems();
  }
});
