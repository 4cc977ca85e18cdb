/**
 * Every view of the page with hours of data, of 50 devices and of 100,000: on a phone, at 200 % zoom, 2,560 pixels
 * wide and in the dark nothing is cut off, and axe finds nothing.
 */
import axe from "axe-core";
import { assert, assertEquals } from "@std/assert";
import type { BrowserContextOptions, Page } from "playwright-core";

import { delta } from "../support/batches.ts";
import { visit } from "../support/browser.ts";
import { temporaryStore } from "../support/harness.ts";
import {
  numberedIds,
  receive,
  receiveFor,
  reportIngest,
  startMonitor,
  untilFolded,
} from "../support/monitor.ts";
import type { Store } from "../../src/store/store.ts";
import { until } from "../support/until.ts";

const HOUR_MS = 3_600_000;

const screens: readonly [string, BrowserContextOptions][] = [
  ["desk", { viewport: { width: 1280, height: 800 } }],
  ["dark desk", { viewport: { width: 1280, height: 800 }, colorScheme: "dark" }],
  ["phone", { viewport: { width: 375, height: 812 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }],
  ["dark phone", {
    viewport: { width: 375, height: 812 },
    deviceScaleFactor: 2,
    isMobile: true,
    hasTouch: true,
    colorScheme: "dark",
  }],
  // As browsers do it: half as many pixels of CSS, each twice as large.
  ["200 % zoom", { viewport: { width: 640, height: 400 }, deviceScaleFactor: 2 }],
  ["2,560 pixels", { viewport: { width: 2560, height: 1440 } }],
];

interface Violation {
  readonly id: string;
  readonly help: string;
  readonly nodes: readonly { readonly target: readonly string[]; readonly failureSummary: string }[];
}

/** What axe finds on the page, one line for each element; not in what `theirs`, a selector, holds. */
async function violationsOn(page: Page, theirs = "#nothing"): Promise<string[]> {
  await page.evaluate(axe.source);
  const violations = await page.evaluate<Violation[]>(`
    axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) => violations.map((violation) => ({
      ...violation,
      nodes: violation.nodes.filter(({ target }) => !document.querySelector(target[0])?.closest("${theirs}")),
    })))
  `);
  return violations.flatMap(({ id, help, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${help}: ${target.join(" ")}: ${failureSummary}`)
  );
}

/** Texts that are cut off although nothing shows that: an ellipsis does. */
const cutOff = `[...document.querySelectorAll("main:not([hidden]) *, header *")].filter((element) => {
  const style = getComputedStyle(element);
  return element.clientWidth > 0 && element.scrollWidth > element.clientWidth + 1 && style.overflowX === "hidden" &&
    style.textOverflow !== "ellipsis" && !element.classList.contains("unseen");
}).map((element) => element.outerHTML.slice(0, 100))`;

const tooWide = "document.documentElement.scrollWidth - document.documentElement.clientWidth";

/** The views of the page, and what shows that they are there. */
const views: readonly [string, string][] = [
  ["?range=hours", "#fleet-chart path.line"],
  [`?tag=site%3Doslo&tag=rack&tag=k9%3D${"W".repeat(64)}`, "#chosen-tags li"],
  ["?columns=celsius&sort=value:celsius", "thead .col-value"],
  ["?device=sensor-00001&range=24h", "#charts [aria-label=celsius] .label"],
  ["?view=events", "#all-events li"],
  ["?device=unknown", "#unknown"],
];

/** Names, tags and notes as long as they may be, and three tags of every device. */
async function label(store: Store, ids: readonly string[]): Promise<void> {
  const long = "W".repeat(32),
    most = Array.from({ length: 13 }, (_, i) => [`k${i}${long.slice(3)}`, long + long]);
  await store.setLabels(ids.map((deviceId, i) => ({
    deviceId,
    tags: new Map([
      ...[["site", ["oslo", "bergen", "trondheim"][i % 3]!], ["model", `x${i % 100}`], [
        "rack",
        `r${i % 1_000}`,
      ]],
      ...i === 1 ? most : [],
    ] as [string, string][]),
    ...i % 3 === 1
      ? { name: i === 1 ? long.repeat(4) : `Boiler ${i}`, notes: long.repeat(i === 1 ? 62 : 1) }
      : {},
  })));
}

for (const devices of [50, 100_000]) {
  Deno.test(`Overview, device and events of ${devices} devices: no layout fault on any screen size, and axe finds nothing`, async (t) => {
    await using store = await temporaryStore();
    const ids = numberedIds(100_000).slice(0, devices);
    const now = Date.now();
    const everyMs = devices === 50 ? HOUR_MS / 4 : 8 * HOUR_MS;
    await receiveFor(store, ids, {
      fromMs: now - 20 * HOUR_MS,
      toMs: now - 3 * HOUR_MS,
      everyMs,
      packets: 900,
    });
    // Some are offline, alone and together, and some are back.
    await receiveFor(store, ids.slice(10), { fromMs: now, toMs: now, everyMs: 1, packets: 20 });
    await receive(store, [delta("W".repeat(128), 123_456_789_012, now, "y".repeat(500))]);
    await store.markOffline(ids.slice(0, 5), now - 60_000, now - 100_000);
    await store.markOffline(ids.slice(5, 6), now - 60_000, now - 50_000);
    await receive(store, [delta(ids[1]!, 1)]);
    for (let from = 0; from < ids.length; from += 1_000) await label(store, ids.slice(from, from + 1_000));
    await reportIngest(store);
    await untilFolded(store);
    await using monitor = await startMonitor(store, { offlineAfterMs: 2 * HOUR_MS });

    for (const [screen, options] of screens) {
      await t.step(screen, async () => {
        await using visitor = await visit(monitor.url, options);
        const { page } = visitor;
        for (const [address, sign] of views) {
          await page.goto(new URL(address, monitor.url).href);
          await page.locator(sign).first().waitFor();
          await page.locator("#connection", { hasText: "Live" }).waitFor();
          assertEquals(await page.evaluate(tooWide), 0, `${screen} ${address}`);
          assertEquals(await page.evaluate(cutOff), [], `${screen} ${address}`);
          // More devices are not more elements: what axe sees differs by screen, not by fleet.
          if (devices === 50 || screen === "desk") {
            assertEquals(await violationsOn(page), [], `${screen} ${address}`);
          }
        }
        await page.goto(new URL("?range=hours", monitor.url).href);
        await page.getByText(`1–50 of ${(devices + 1).toLocaleString("en")}`, { exact: true }).waitFor();
        // A wide screen is filled, and read from further away.
        if (options.viewport!.width === 2560) {
          const table = (await page.getByRole("table").boundingBox())!;
          assert(table.width > 1_600, `the table is ${table.width} pixels wide`);
          const size = await page.evaluate<string>("getComputedStyle(document.body).fontSize");
          assert(parseFloat(size) > 17, size);
        }
        visitor.assertNoProblems(["404"]);
      });
    }
  });
}

Deno.test("axe finds nothing on the page with a warning, without devices, and with each dialog of a device", async () => {
  await using store = await temporaryStore();
  await using monitor = await startMonitor(store);
  await using visitor = await visit(monitor.url);
  const { page } = visitor;
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    await page.getByRole("heading", { name: "No packets yet" }).waitFor();
    assertEquals(await violationsOn(page), []);
  }
  await receiveFor(store, numberedIds(9), {
    fromMs: Date.now() - HOUR_MS,
    toMs: Date.now() - HOUR_MS,
    everyMs: 1,
    packets: 1,
  });
  await store.markOffline(numberedIds(9), Date.now(), Date.now());
  await page.getByRole("alert").waitFor();
  await page.getByText("9 devices").click();
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    assertEquals(await violationsOn(page), []);
  }
  await page.locator("tbody").getByRole("link", { name: "sensor-3" }).click();
  for (const name of ["Delete…", "Name and tags…"]) {
    await page.getByRole("button", { name }).click();
    await page.getByRole("dialog").waitFor();
    for (const colorScheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme });
      assertEquals(await violationsOn(page), [], name);
    }
    await page.keyboard.press("Escape");
  }
});

Deno.test("Alerts with incidents, rules and mutes: no layout fault on any screen size, and axe finds nothing", async (t) => {
  await using store = await temporaryStore();
  const long = "W".repeat(100);
  await receive(store, [delta("W".repeat(128), 1), delta("calm", 1)]);
  await using monitor = await startMonitor(store, {
    ...{ watchIntervalMs: 50, groupWaitMs: 0, updateAfterMs: 0 },
    ntfyUrl: "http://localhost:1/topic",
  });
  const post = async (path: string, body: unknown) => {
    const response = await fetch(new URL(path, monitor.url), {
      method: "POST",
      body: JSON.stringify(body),
      headers: { "content-type": "application/json" },
    });
    assertEquals(response.status, 201, await response.clone().text());
    return await response.json();
  };
  const rule = { name: long, enabled: true, severity: "critical", devices: "*", tag: null, channels: [] };
  const silent = await post("rules", { ...rule, condition: { kind: "offline", after_ms: 1_000 } });
  await post("rules", {
    ...{ ...rule, name: "Hot", severity: "warning", tag: `site=${"W".repeat(64)}`, enabled: false },
    condition: { kind: "value", value: "W".repeat(64), above: 40, below: -5, hysteresis: 2, for_ms: 60_000 },
  });
  await post("mutes", {
    ...{ rule_id: silent.id, devices: "W".repeat(100), tag: `site=${"W".repeat(64)}`, comment: long },
    ...{ repeat: "weekly", from_ms: null, for_ms: HOUR_MS },
  });

  for (const [screen, options] of screens) {
    await t.step(screen, async () => {
      await using visitor = await visit(new URL("?view=alerts", monitor.url).href, options);
      const { page } = visitor;
      await page.locator("#incidents li").first().waitFor();
      await page.locator("#mutes li").waitFor();
      const check = async (what: string) => {
        assertEquals(await page.evaluate(tooWide), 0, what);
        assertEquals(await page.evaluate(cutOff), [], what);
        assertEquals(await violationsOn(page), [], what);
      };
      await check("the lists");
      await page.locator("#rules").getByRole("button", { name: "Edit" }).last().click();
      await page.getByRole("dialog").waitFor();
      await check("the dialog of a rule");
      await page.keyboard.press("Escape");
      await page.getByRole("button", { name: "New mute" }).click();
      await page.getByRole("dialog").waitFor();
      await check("the dialog of a mute");
      visitor.assertNoProblems();
    });
  }
});

Deno.test("axe finds nothing on /docs outside of Swagger UI's elements", async () => {
  await using store = await temporaryStore();
  await using monitor = await startMonitor(store);
  await using visitor = await visit(`${monitor.url}docs`);
  const { page } = visitor;
  await page.locator(".swagger-ui .opblock").first().waitFor();
  await until(async () => (await page.title()).includes("Tally"), "it has a title");
  assertEquals(await violationsOn(page, ".swagger-ui"), []);
});
