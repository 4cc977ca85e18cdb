/**
 * What the page shows is in its address: reload shows the same, back and forward what was before and after.
 */
import { assert, assertEquals } from "@std/assert";
import type { Page } from "playwright-core";

import { delta } from "../support/batches.ts";
import { visit } from "../support/browser.ts";
import { temporaryStore } from "../support/harness.ts";
import { numberedIds, receive, reportIngest, startMonitor } from "../support/monitor.ts";
import { until } from "../support/until.ts";

const position = (page: Page, text: string) => page.getByText(text, { exact: true }).waitFor();
const firstId = (page: Page) => page.locator("tbody th").first().innerText();
const search = (page: Page) => Object.fromEntries(new URL(page.url()).searchParams);
const range = (page: Page, view: string) => page.locator(`#${view}-range input:checked`).inputValue();

async function fleetOf120() {
  const store = await temporaryStore();
  await receive(store, numberedIds(120, "pump-").map((id, i) => delta(id, i + 1)));
  await receive(store, [delta("valve-1", 7)]);
  await reportIngest(store);
  return store;
}

Deno.test("The address holds page, sort, filter, search and range; reload, back and forward restore them", async () => {
  await using store = await fleetOf120();
  await using monitor = await startMonitor(store);
  await using visitor = await visit(monitor.url);
  const { page } = visitor;
  await position(page, "1–50 of 121");

  await page.getByRole("columnheader", { name: "Total" }).getByRole("button").click();
  await until(async () => await firstId(page) === "pump-119", "it is sorted");
  await page.getByRole("button", { name: "Next" }).click();
  await position(page, "51–100 of 121");
  await page.getByRole("radio", { name: "1 hour" }).check();
  await page.getByRole("button", { name: "Next" }).click();
  await position(page, "101–121 of 121");
  const last = { sort: "count", order: "desc", page: "3", range: "minutes" };
  assertEquals(search(page), last);
  const id = await firstId(page);

  await page.reload();
  await position(page, "101–121 of 121");
  assertEquals([await firstId(page), await range(page, "fleet")], [id, "minutes"]);
  // From a link that somebody sent there is no history, and the pages before are there all the same.
  await using other = await visit(page.url());
  await position(other.page, "101–121 of 121");
  assertEquals(await firstId(other.page), id);
  await other.page.getByRole("button", { name: "Previous" }).click();
  await position(other.page, "51–100 of 121");

  await page.goBack();
  await position(page, "51–100 of 121");
  await page.goBack();
  await until(async () => await range(page, "fleet") === "seconds", "the range is as before");
  await page.goBack();
  await position(page, "1–50 of 121");
  assertEquals(await firstId(page), "pump-119");
  await page.goBack();
  await until(async () => await firstId(page) === "pump-000", "it is by id again");
  assertEquals(search(page), {});
  for (let i = 0; i < 4; i++) await page.goForward();
  await position(page, "101–121 of 121");
  assertEquals(search(page), last);

  // What is typed is one step, whatever its length; a filter starts at the first page.
  await page.getByRole("searchbox").pressSequentially("VALVE", { delay: 250 });
  await position(page, "1–1 of 1");
  assertEquals(search(page), { search: "VALVE", sort: "count", order: "desc", range: "minutes" });
  await page.getByRole("radio", { name: "Offline" }).check();
  await page.getByText("No device matches.").waitFor();
  await page.goBack();
  await position(page, "1–1 of 1");
  await page.goBack();
  await position(page, "101–121 of 121");
  assertEquals(await page.getByRole("searchbox").inputValue(), "");
  visitor.assertNoProblems();
});

Deno.test("The address holds the device's range, and the link to all devices returns to the list after any number of ranges", async () => {
  await using store = await fleetOf120();
  await using monitor = await startMonitor(store);
  await using visitor = await visit(`${monitor.url}?page=2`);
  const { page } = visitor;
  await position(page, "51–100 of 121");
  await page.getByRole("link", { name: "pump-050" }).click();
  const ranges = page.locator("#device-range");
  await ranges.getByRole("radio", { name: "24 hours" }).check();
  assertEquals(search(page), { device: "pump-050", range: "24h" });
  await page.locator("#history-unit", { hasText: "hour" }).waitFor();
  await page.reload();
  await page.getByRole("heading", { name: "pump-050" }).waitFor();
  assertEquals(await range(page, "device"), "24h");
  await ranges.getByRole("radio", { name: "1 hour" }).check();
  await page.goBack();
  await page.locator("#history-unit", { hasText: "hour" }).waitFor();
  await page.getByRole("link", { name: "All devices" }).click();
  await position(page, "51–100 of 121");
  visitor.assertNoProblems();
});

Deno.test("Invalid and old addresses show an existing page of the table", async () => {
  await using store = await fleetOf120();
  await using monitor = await startMonitor(store);
  await using visitor = await visit(`${monitor.url}?page=999999&range=%3Cimg%3E&sort=nonsense&status=x`);
  const { page } = visitor;
  await position(page, "101–121 of 121");
  assertEquals(search(page).page, "3");
  assertEquals(await range(page, "fleet"), "seconds");
  for (const text of ["0", "-1", "1.5", "NaN", "", "1e400"]) {
    await page.goto(`${monitor.url}?page=${text}`);
    await position(page, "1–50 of 121");
  }
  await page.goto(`${monitor.url}?prefix=valve`);
  await position(page, "1–1 of 1");
  await page.goto(`${monitor.url}?search=${"x".repeat(5_000)}`);
  await page.getByText("No device matches.").waitFor();
  const names = Array.from({ length: 40 }, (_, i) => `<i>${i}`).join();
  await page.goto(
    `${monitor.url}?columns=${"x".repeat(5_000)},,${encodeURIComponent(names)}&sort=value:nonsense`,
  );
  await position(page, "1–50 of 121");
  await until(
    async () => await page.locator("thead .col-value").count() === 8,
    "there are as many columns as fit",
  );
  await page.goto(`${monitor.url}?view=nonsense`);
  await position(page, "1–50 of 121");
  await page.goto(`${monitor.url}?view=events&kind=nonsense&search=%3Cimg%20src%3Dx%20onerror%3Dx%3E`);
  await page.getByText("No event is kept, or none matches.").waitFor();
  assert(await page.locator("#event-kind").getByRole("radio", { name: "All" }).isChecked());
  visitor.assertNoProblems();
});
