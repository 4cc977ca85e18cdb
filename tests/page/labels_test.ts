/**
 * Names, tags and notes on the page: set, shown, searched, filtered and grouped by, whatever text they are.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";

import { delta } from "../support/batches.ts";
import { visit } from "../support/browser.ts";
import { temporaryStore } from "../support/harness.ts";
import { receive, reportIngest, startMonitor } from "../support/monitor.ts";
import { until } from "../support/until.ts";

const hostile = `<img src=x onerror="document.title='pwned'"> \u202egnp`;
const shownHostile = hostile.replace("\u202e", "[U+202E]");
const hostileValue = `"><script>alert(1)</script>`;

Deno.test("Device view: name, tags and notes are edited, shown as text, and kept", async () => {
  await using store = await temporaryStore();
  await receive(store, [delta("pump-7", 1), delta("other", 1)]);
  await reportIngest(store);
  await using monitor = await startMonitor(store);
  await using visitor = await visit(`${monitor.url}?device=pump-7`);
  const { page } = visitor;
  const device = page.locator("#device");
  const edit = async () => {
    await device.getByRole("button", { name: "Name and tags…" }).click();
    return page.getByRole("dialog");
  };
  const dialog = await edit();
  await dialog.getByLabel("Name", { exact: true }).fill(hostile);
  await dialog.getByLabel("Tags").fill(`site = oslo\n\nmodel=${hostileValue}`);
  await dialog.getByLabel("Notes").fill("first line\n<b>second</b>");
  await dialog.getByRole("button", { name: "Save" }).click();
  await dialog.waitFor({ state: "hidden" });
  assertEquals(await device.locator("#device-name").innerText(), shownHostile);
  assertEquals(await device.locator(".tag").allInnerTexts(), [`model=${hostileValue}`, "site=oslo"]);
  assertEquals(await device.locator("#device-notes").innerText(), "first line\n<b>second</b>");
  const labels = (await store.labels(["pump-7"])).get("pump-7")!;
  assertEquals([labels.name, ...labels.tags.values()], [hostile, hostileValue, "oslo"]);

  // What others changed meanwhile stays, and what is wrong is stated.
  await edit();
  await store.setLabels([{ deviceId: "pump-7", tags: new Map([["floor", "3"]]) }]);
  await dialog.getByLabel("Tags").fill("site=bergen\nno tag");
  await dialog.getByRole("button", { name: "Save" }).click();
  await dialog.getByText("“no tag”").waitFor();
  await dialog.getByLabel("Tags").fill("site=bergen\n1=x");
  await dialog.getByRole("button", { name: "Save" }).click();
  await dialog.getByText("expected a key").waitFor();
  await dialog.getByLabel("Tags").fill("site=bergen");
  await dialog.getByLabel("Notes").fill("");
  await dialog.getByRole("button", { name: "Save" }).click();
  await dialog.waitFor({ state: "hidden" });
  await until(
    async () => (await device.locator(".tag").allInnerTexts()).join() === "floor=3,site=bergen",
    "the tags of both are shown",
  );
  assertEquals(await device.locator("#device-notes").isVisible(), false);

  await page.reload();
  await device.locator("#device-name").waitFor();
  assertEquals(await device.locator(".tag").allInnerTexts(), ["floor=3", "site=bergen"]);
  assertEquals(await page.title(), "pump-7 · Tally");
  await device.getByRole("link", { name: "site=bergen" }).click();
  await page.locator("#devices tbody tr").waitFor();
  assertEquals(await page.locator("#devices tbody tr").count(), 1);
  assertEquals(new URL(page.url()).searchParams.get("tag"), "site=bergen");
  assertEquals(await page.locator("#chosen-tags").innerText(), "site=bergen");
  visitor.assertNoProblems(["400 (Bad Request)"]);
});

Deno.test("Overview: names and tags in the table, a filter by tag, and groups with their figures", async () => {
  await using store = await temporaryStore();
  const ids = ["a", "b", "c", "d"];
  await receive(store, ids.map((id) => delta(id, 2)));
  await reportIngest(store);
  await using monitor = await startMonitor(store);
  await using visitor = await visit(monitor.url);
  const { page } = visitor;
  const rows = page.locator("#devices tbody th");
  await rows.nth(3).waitFor();
  assertEquals(await rows.allInnerTexts(), ids);
  assertEquals(await page.locator("#tag").isVisible(), false, "no device has a tag");
  assertEquals(await page.locator("#groups").isVisible(), false);

  const tags = (site: string) => new Map([["site", site], ["serial", site + "1"], ["x", "y"]]);
  await store.setLabels([
    { deviceId: "a", name: hostile, tags: tags(hostileValue) },
    { deviceId: "b", tags: new Map([["site", "oslo"], ["serial", "b"]]) },
    { deviceId: "c", tags: new Map([["site", "oslo"], ["serial", "c"]]) },
  ]);
  await page.locator("#devices tbody .labels").first().waitFor();
  const [first, second] = await rows.allInnerTexts();
  assert(first!.startsWith(shownHostile), first);
  assert(second!.includes("site=oslo"), second);
  await page.locator("#groups").waitFor();
  const groups = page.locator("#groups li");
  await page.locator("#group-key").selectOption("site");
  await until(
    async () => (await groups.allInnerTexts()).join().replaceAll("\n", " ").startsWith("oslo 2 of 2 online"),
    "the greatest group is the first",
  );
  assertEquals((await groups.locator("a").allInnerTexts()).map((text) => text.trim()), [
    "oslo",
    hostileValue,
  ]);

  await page.locator("#tag").selectOption(`site=${hostileValue}`);
  await until(async () => await rows.count() === 1, "the device with the tag");
  assertEquals(new URL(page.url()).searchParams.get("tag"), `site=${hostileValue}`);
  await page.getByRole("searchbox").first().fill("ONERROR");
  await until(() => new URL(page.url()).searchParams.has("search"), "both filters");
  assertEquals(await rows.count(), 1);
  await page.goBack();
  await page.goBack();
  await until(async () => await rows.count() === 4, "back: all devices");
  assertEquals(await page.locator("#chosen-tags").isVisible(), false);
  await groups.getByRole("link", { name: "oslo" }).click();
  await until(async () => await rows.count() === 2, "a group is a link to its devices");
  assertEquals(await page.title(), "4 online · Tally");
  // An address that was typed by hand.
  for (const [tag, count] of [["site", 3], ["site=oslo", 2], ["no tag!", 4]] as const) {
    await page.goto(`${monitor.url}?tag=${encodeURIComponent(tag)}`);
    await until(async () => await rows.count() === count, tag);
  }
  visitor.assertNoProblems();
});

Deno.test("Overview: several tags filter the table, each with a button that takes it away", async () => {
  await using store = await temporaryStore();
  const devices = { a: ["oslo", "x1"], b: ["oslo", "x2"], c: ["bergen", "x2"], d: ["bonn", "x2"] };
  await receive(store, Object.keys(devices).map((id) => delta(id, 1)));
  await reportIngest(store);
  await store.setLabels(
    Object.entries(devices).map(([deviceId, [site, model]]) => ({
      ...{ deviceId, tags: new Map([["site", site!], ["model", model!]]) },
    })),
  );
  await using monitor = await startMonitor(store);
  await using visitor = await visit(monitor.url);
  const { page } = visitor;
  const rows = page.locator("#devices tbody th"), menu = page.locator("#tag");
  const shows = (ids: string) =>
    until(
      async () => (await rows.allInnerTexts()).map((text) => text.slice(0, 1)).join("") === ids,
      `the devices ${ids} are shown`,
    );
  const chosen = () => page.locator("#chosen-tags button").allInnerTexts();
  await menu.waitFor();
  await menu.selectOption("model=x2");
  await shows("bcd");
  await menu.selectOption("site=oslo");
  await shows("b");
  await menu.selectOption("site=bergen");
  await shows("bc"); // One of the values of each key.
  assertEquals(await chosen(), ["model=x2", "site=oslo", "site=bergen"]);
  const options = await menu.locator("option").allInnerTexts();
  assertEquals(options.filter((tag) => tag.includes("oslo") || tag.includes("x2")), []);

  await page.reload();
  await shows("bc");
  assertEquals(await chosen(), ["model=x2", "site=oslo", "site=bergen"]);
  await page.getByRole("button", { name: "Without the tag site=oslo" }).focus();
  await page.keyboard.press("Enter");
  await shows("c");
  assertEquals(await page.locator(":focus").innerText(), "site=bergen");
  await page.goBack();
  await shows("bc");
  await page.goto(`${monitor.url}?tag=nothing=here&tag=${"x".repeat(33)}`);
  await page.locator("#clear").click();
  await shows("abcd");
  assertEquals([await chosen(), new URL(page.url()).search], [[], ""]);
  visitor.assertNoProblems();
});
