import { visit } from "./browser.ts";
import { temporaryStore } from "./harness.ts";
import { numberedIds, receive, receiveFor, reportIngest, startMonitor } from "./monitor.ts";
import { delta } from "./batches.ts";
const out = Deno.args[0] ?? "/tmp/figures-page/shots";
await Deno.mkdir(out, { recursive: true });
await using store = await temporaryStore();
const ids = numberedIds(60);
const now = Date.now();
await receiveFor(store, ids, {
  fromMs: now - 20 * 3600_000,
  toMs: now - 3600_000,
  everyMs: 600_000,
  packets: 590,
});
await receiveFor(store, ids, { fromMs: now - 3600_000, toMs: now - 300_000, everyMs: 20_000, packets: 19 });
await receiveFor(store, ids.slice(0, 54), { fromMs: now - 300_000, toMs: now, everyMs: 2_000, packets: 2 });
await receive(store, [delta("every-five-minutes", 1)], now - 900_000);
await receive(store, [delta("every-five-minutes", 1)], now - 600_000);
await receive(store, [delta("every-five-minutes", 1)], now - 300_000);
await receive(store, [delta("every-five-minutes", 1)], now - 1_000);
await receive(store, [delta("a-device-with-a-very-long-id/" + "x".repeat(99), 1)], now - 1_000);
await store.markOffline(ids, now - 200_000, now - 230_000);
await reportIngest(store);
await using monitor = await startMonitor(store);
for (
  const [name, viewport, colorScheme, scale] of [
    ["desk", { width: 1280, height: 900 }, "light", 1],
    ["dark", { width: 1280, height: 900 }, "dark", 1],
    ["zoom200", { width: 640, height: 450 }, "light", 2],
    ["wide", { width: 2560, height: 1440 }, "light", 1],
    ["phone", { width: 375, height: 812 }, "dark", 2],
  ] as const
) {
  for (
    const [view, query] of [["overview", "?range=hours"], ["device", "?device=sensor-03"], [
      "events",
      "?view=events",
    ]]
  ) {
    await using v = await visit(monitor.url + query, { viewport, colorScheme, deviceScaleFactor: scale });
    await v.page.waitForTimeout(1800);
    if (view === "events") await v.page.locator("summary").first().click().catch(() => {});
    if (view === "overview" && name === "desk") await v.page.locator("tbody tr").nth(2).hover();
    await v.page.waitForTimeout(300);
    await v.page.screenshot({
      path: `${out}/${name}-${view}.png`,
      fullPage: name === "phone" || name === "zoom200",
    });
    if (v.problems.length) console.log(name, view, v.problems);
    const wide = await v.page.evaluate(
      "document.documentElement.scrollWidth - document.documentElement.clientWidth",
    );
    if (wide) console.log(name, view, "too wide", wide);
  }
}
