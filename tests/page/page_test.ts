/**
 * The monitor page in a real browser, on a real api and store.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { Page } from "playwright-core";

import { bytes, delta } from "../support/batches.ts";
import { visit } from "../support/browser.ts";
import { framedPacket, packet, RawCall, startTestIngest, temporaryStore } from "../support/harness.ts";
import { receive, startMonitor } from "../support/monitor.ts";
import { until } from "../support/until.ts";

/** The ids in the table, as shown. */
const idsOf = (page: Page) => page.locator("tbody th").allInnerTexts();

/** Resolves when the table has these ids in this order. */
async function untilIds(page: Page, expected: readonly string[]): Promise<void> {
  await until(async () => (await idsOf(page)).join() === expected.join(), `the table shows ${expected}`);
}

/** The row of a device. */
const rowOf = (page: Page, deviceId: string) => page.locator("tbody tr", { hasText: deviceId });

const widestElement = `document.documentElement.scrollWidth - document.documentElement.clientWidth`;

Deno.test("Empty fleet: shows how to send packets, and the first device appears without a reload", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  await using monitor = await startMonitor(store);
  await using visitor = await visit(monitor.url);
  const { page } = visitor;

  await page.getByRole("heading", { name: "No packets yet" }).waitFor();
  const command = page.locator("#send-command");
  await command.getByText(`deno task send --target 127.0.0.1:${ingest.port}`, { exact: true }).waitFor();
  assert(!await page.getByRole("table").isVisible());

  await using device = new RawCall(ingest.port);
  await device.finish(framedPacket(packet("greenhouse-1", `{"celsius":21.5}`)));
  await page.getByRole("link", { name: "greenhouse-1" }).waitFor();
  assert(!await page.getByRole("heading", { name: "No packets yet" }).isVisible());
  assertStringIncludes(await rowOf(page, "greenhouse-1").innerText(), `{"celsius":21.5}`);
  assertEquals(await page.locator("#online").innerText(), "1");

  await using careless = new RawCall(ingest.port);
  await careless.finish(framedPacket(packet("")));
  const instance = page.getByRole("listitem").filter({ hasText: `127.0.0.1:${ingest.port}` });
  await instance.getByText("1 device id empty").waitFor();
  await instance.getByText("0 % of 10,000").waitFor();
  visitor.assertNoProblems();
});

Deno.test("Figures and rows are updated without a reload", async () => {
  await using store = await temporaryStore();
  await receive(store, [delta("a", 1_000), delta("b", 5)]);
  await using monitor = await startMonitor(store);
  await using visitor = await visit(monitor.url);
  const { page } = visitor;
  await untilIds(page, ["a", "b"]);
  await page.evaluate("window.notReloaded = true");

  await receive(store, [delta("a", 234, 2000, "news")]);
  await rowOf(page, "a").getByText("1,234", { exact: true }).waitFor();
  await rowOf(page, "a").getByText("news").waitFor();
  await page.locator("#count", { hasText: "1,239" }).waitFor();
  await page.locator("#fleet-chart path.line").waitFor();

  await receive(store, [delta("c", 1, Date.now() + 7_230_000)]);
  await untilIds(page, ["a", "b", "c"]);
  await rowOf(page, "c").getByText("clock 2 h ahead").waitFor();
  assert(await page.evaluate("window.notReloaded"));
  visitor.assertNoProblems();
});

Deno.test("Chart: the arrow keys move the readout, in each range", async () => {
  await using store = await temporaryStore();
  await receive(store, [delta("a", 120)]);
  await using monitor = await startMonitor(store);
  await using visitor = await visit(monitor.url);
  const { page } = visitor;
  const chart = page.getByRole("img", { name: "latest" });
  const reading = page.locator("#fleet-chart output");

  for (const range of ["15 min", "1 hour", "24 hours"]) {
    await page.getByRole("radio", { name: range }).check();
    await chart.focus();
    await page.keyboard.press("ArrowLeft");
    await page.keyboard.press("ArrowLeft");
    assertMatch(await reading.innerText(), /^\d\d:\d\d(:\d\d)?\s+[\d.]+ packets\/s$/);
  }
  await page.getByRole("searchbox").focus();
  assert(!await reading.isVisible());
  visitor.assertNoProblems();
});

Deno.test("An offline device is marked in its row, and counted", async () => {
  await using store = await temporaryStore();
  await receive(store, [delta("quiet", 1)]);
  await using monitor = await startMonitor(store, { offlineAfterMs: 1_500 });
  await using visitor = await visit(monitor.url);
  const { page } = visitor;

  await rowOf(page, "quiet").getByText("Offline").waitFor();
  await page.locator("#offline", { hasText: "1" }).waitFor();
  await receive(store, [delta("quiet", 1)]);
  await rowOf(page, "quiet").getByText("Online").waitFor();
  visitor.assertNoProblems();
});

Deno.test("Table: search by part of the id, filter by status, sort, and paging", async () => {
  await using store = await temporaryStore();
  const numbered = (i: number) => `pump-${String(i).padStart(3, "0")}`;
  await receive(store, Array.from({ length: 120 }, (_, i) => delta(numbered(i), i + 1)));
  await receive(store, [delta("valve-1", 7), delta("valve-2", 9)]);
  await using monitor = await startMonitor(store);
  await using visitor = await visit(monitor.url);
  const { page } = visitor;
  await page.getByText("1–50 of 122", { exact: true }).waitFor();

  const total = page.getByRole("columnheader", { name: "Total" });
  await total.getByRole("button").focus();
  await page.keyboard.press("Enter");
  await until(async () => (await idsOf(page))[0] === numbered(119), "the greatest total is first");
  assertEquals(await total.getAttribute("aria-sort"), "descending");
  assertStringIncludes(page.url(), "sort=count&order=desc");
  await total.getByRole("button").click();
  await until(async () => (await idsOf(page))[0] === numbered(0), "the smallest total is first");
  assertEquals(await total.getAttribute("aria-sort"), "ascending");

  await page.getByRole("button", { name: "Next" }).click();
  await page.getByText("51–100 of 122", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Next" }).click();
  await page.getByText("101–122 of 122", { exact: true }).waitFor();
  assert(await page.getByRole("button", { name: "Next" }).isDisabled());
  assertEquals((await idsOf(page)).at(-1), numbered(119));
  await page.getByRole("button", { name: "Previous" }).click();
  await page.getByText("51–100 of 122", { exact: true }).waitFor();

  await page.getByRole("searchbox").fill("valve");
  await untilIds(page, ["valve-1", "valve-2"]);
  await page.reload();
  await untilIds(page, ["valve-1", "valve-2"]);
  await page.getByRole("radio", { name: "Offline" }).click();
  await page.getByText("No device matches.").waitFor();
  await page.getByRole("button", { name: "Show all devices" }).click();
  await page.getByText("1–50 of 122", { exact: true }).waitFor();
  visitor.assertNoProblems();
});

Deno.test("Device view: figures, history, and the payload in three forms", async () => {
  await using store = await temporaryStore();
  const payload = `{"serial":12345678901234567890,"text":"a {b}, \\"c\\"","list":[1,[]],"empty":{}}`;
  await receive(store, [delta("sensor 7/é", 42, Date.now() + 7_200_500, payload)]);
  await using monitor = await startMonitor(store);
  await using visitor = await visit(monitor.url);
  const { page } = visitor;

  await page.getByRole("link", { name: "sensor 7/é" }).press("Enter");
  await page.getByRole("heading", { name: "sensor 7/é" }).waitFor();
  await until(
    () => page.url() === `${monitor.url}?device=sensor%207%2F%C3%A9`,
    "the address names the device",
  );
  assertEquals(await page.locator("#device-count").innerText(), "42");
  assertStringIncludes(await page.locator("#timestamp").innerText(), "2 h ahead of arrival");
  assertEquals(await page.evaluate("document.activeElement.id"), "device");
  await page.locator("#device-chart path.bars").waitFor({ state: "attached" });

  const shown = page.locator("#payload");
  assertEquals(
    await shown.innerText(),
    [
      "{",
      '  "serial": 12345678901234567890,',
      '  "text": "a {b}, \\"c\\"",',
      '  "list": [',
      "    1,",
      "    []",
      "  ],",
      '  "empty": {}',
      "}",
    ].join("\n"),
  );
  await page.getByRole("radio", { name: "Text" }).click();
  assertEquals(await shown.innerText(), payload);
  await page.getByRole("radio", { name: "Hex" }).click();
  assertStringIncludes(
    await shown.innerText(),
    `000000  7b 22 73 65 72 69 61 6c 22 3a 31 32 33 34 35 36  {"serial":123456`,
  );

  await receive(store, [delta("sensor 7/é", 1, Date.now() + 8_000_000, "x".repeat(1_000))]);
  await page.getByText("1000 bytes").waitFor();
  await page.locator("#device-count", { hasText: "43" }).waitFor();

  await page.getByRole("link", { name: "All devices" }).click();
  await untilIds(page, ["sensor 7/é"]);
  assertEquals(page.url(), monitor.url);
  visitor.assertNoProblems();
});

Deno.test("Device view: deletes the device only after confirmation", async () => {
  await using store = await temporaryStore();
  await receive(store, [delta("keep", 1), delta("drop", 1)]);
  await using monitor = await startMonitor(store);
  await using visitor = await visit(`${monitor.url}?device=drop`);
  const { page } = visitor;

  await page.getByRole("button", { name: "Delete…" }).click();
  await page.getByRole("button", { name: "Keep" }).click();
  assert(await store.device("drop") !== undefined);

  await page.getByRole("button", { name: "Delete…" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete", exact: true }).click();
  await untilIds(page, ["keep"]);
  assertEquals(await store.device("drop"), undefined);

  await page.goBack();
  await page.getByRole("heading", { name: "No such device" }).waitFor();
  await receive(store, [delta("drop", 1)]);
  await page.getByRole("heading", { name: "drop" }).waitFor();
  visitor.assertNoProblems(["404"]);
});

Deno.test("Hostile device ids and payloads are shown as text", async () => {
  const hostile = [
    `<script>window.broken = true</script>`,
    `<img src=x onerror="window.broken = true">`,
    "مستشعر-١",
    "🌡️👩‍🚀",
    "..",
    ".",
    "by-id",
    "a&b=c#d?e/f%41,g",
    "\u202Eexe.cod",
    "zero\u200Bwidth",
    "x".repeat(128),
  ];
  const shownAs: Record<string, string> = {
    "\u202Eexe.cod": "[U+202E]exe.cod",
    "zero\u200Bwidth": "zero[U+200B]width",
  };
  await using store = await temporaryStore();
  await receive(store, hostile.map((deviceId) => delta(deviceId, 1, 1000, deviceId)));
  const binary = Uint8Array.of(0x00, 0xff, 0xfe, 0x3c, 0x62, 0x3e);
  await receive(store, [{ deviceId: "binary", packets: 1, timestampMs: 1000, payload: binary }]);
  await using monitor = await startMonitor(store);
  await using visitor = await visit(monitor.url);
  const { page } = visitor;
  await page.getByText(`1–${hostile.length + 1} of ${hostile.length + 1}`, { exact: true }).waitFor();
  await page.locator("tbody .past").nth(hostile.length).waitFor({ state: "attached" });

  for (const deviceId of hostile) {
    const shown = shownAs[deviceId] ?? deviceId;
    await page.getByRole("link", { name: shown, exact: true }).click();
    await page.getByRole("heading", { name: shown, exact: true }).waitFor();
    await until(async () => (await page.locator("#payload").textContent()) !== "", "the payload is there");
    assertEquals(new URL(page.url()).searchParams.get("device"), deviceId);
    assertEquals(await page.evaluate(widestElement), 0);
    await page.getByRole("link", { name: "All devices" }).click();
    await page.getByRole("table").waitFor();
  }
  assertStringIncludes(await rowOf(page, "binary").innerText(), "00 ff fe 3c 62 3e");
  await page.getByRole("link", { name: "binary" }).click();
  await until(async () => (await page.locator("#payload").textContent()) !== "", "the payload is there");
  assertEquals(
    await page.locator("#payload").innerText(),
    `000000  00 ff fe 3c 62 3e${" ".repeat(32)}···<b>`,
  );
  assertEquals(await page.evaluate("window.broken"), undefined);
  assertEquals(await page.locator("main img, main script").count(), 0);
  visitor.assertNoProblems();
});

Deno.test("Table: shows one page of rows of 100,000 devices", async () => {
  await using store = await temporaryStore();
  for (let from = 0; from < 100_000; from += 5_000) {
    await receive(
      store,
      Array.from({ length: 5_000 }, (_, i) => delta(`d-${from + i}`, 1 + (from + i) % 977)),
    );
  }
  await receive(store, [delta("d-77777", 1_000_000)]);
  await using monitor = await startMonitor(store);
  await using visitor = await visit(monitor.url);
  const { page } = visitor;

  await page.getByText("1–50 of 100,000", { exact: true }).waitFor();
  await page.locator("#online", { hasText: "100,000" }).waitFor();
  await page.getByRole("columnheader", { name: "Total" }).getByRole("button").click();
  await until(async () => (await idsOf(page))[0] === "d-77777", "the greatest total is first");
  assertEquals(await page.locator("tbody tr").count(), 50);
  await page.getByRole("searchbox").fill("d-9999");
  await page.getByText("1–11 of 11", { exact: true }).waitFor();
  visitor.assertNoProblems();
});

for (const colorScheme of ["light", "dark"] as const) {
  Deno.test(`Phone, ${colorScheme}: nothing is wider than the screen`, async () => {
    await using store = await temporaryStore();
    await receive(store, [delta("W".repeat(128), 123_456_789_012, 1000, bytes("y").toString().repeat(500))]);
    await using monitor = await startMonitor(store);
    await using visitor = await visit(monitor.url, { colorScheme, viewport: { width: 360, height: 740 } });
    const { page } = visitor;

    await rowOf(page, "WWW").waitFor();
    assertEquals(await page.evaluate(widestElement), 0);
    assertEquals(await page.getByRole("cell", { name: "Online" }).count(), 1);
    await page.getByRole("link", { name: "WWW" }).click();
    await page.getByRole("heading", { name: "WWW" }).waitFor();
    assertEquals(await page.evaluate(widestElement), 0);
    const background = await page.evaluate<string>("getComputedStyle(document.body).backgroundColor");
    const brightness = Number(/\d+/.exec(background)?.[0]);
    assert(colorScheme === "dark" ? brightness < 60 : brightness > 200, background);
    visitor.assertNoProblems();
  });
}
