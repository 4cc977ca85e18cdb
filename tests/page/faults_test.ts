/**
 * What the page shows when what it shows cannot be had, and what it is made of.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { Page } from "playwright-core";

import { delta } from "../support/batches.ts";
import { visit } from "../support/browser.ts";
import { temporaryStore } from "../support/harness.ts";
import { receive, reportIngest, startMonitor } from "../support/monitor.ts";
import { startRedis } from "../support/redis_server.ts";
import { openStore, untilStored } from "../support/redis_store.ts";
import { until } from "../support/until.ts";

/** Chromium says on its console that a request failed, whatever the page makes of it. */
const REFUSED = "net::ERR_CONNECTION_REFUSED";
const UNAVAILABLE = "503 (Service Unavailable)";

const stateOf = (page: Page, name: string) => page.locator("#connection", { hasText: name }).waitFor();

Deno.test("Overview: while the store is down a notice is shown and the figures stay; both recover without a reload", async () => {
  await using redis = await startRedis();
  const store = await openStore(redis, { commandTimeoutMs: 500 });
  try {
    await receive(store, [delta("pump", 3)]);
    await using monitor = await startMonitor(store);
    await using visitor = await visit(monitor.url);
    const { page } = visitor;
    await page.getByRole("cell", { name: "3", exact: true }).waitFor();

    await redis.kill9();
    await stateOf(page, "Store down");
    assertEquals(await page.title(), "Store down · Fleet · Tally");
    assertStringIncludes(await page.locator("link[rel=icon]").getAttribute("href") ?? "", "icon_alert.svg");
    assertStringIncludes(await page.getByRole("alert").innerText(), "cannot reach its store");
    assert(await page.getByRole("link", { name: "pump" }).isVisible());
    await page.reload();
    await stateOf(page, "Store down");

    await redis.start();
    await stateOf(page, "Live");
    await untilStored(() => receive(store, [delta("valve", 4)]));
    await untilStored(() => reportIngest(store));
    await page.getByRole("link", { name: "valve" }).waitFor();
    await until(async () => !await page.getByRole("alert").isVisible(), "the notice is gone");
    await until(async () => await page.title() === "1 online · Tally", "the title says how many are online");
    visitor.assertNoProblems([UNAVAILABLE]);
  } finally {
    await store.close();
  }
});

Deno.test("When the api is down the page shows a notice, and reconnects when it is back", async () => {
  await using store = await temporaryStore();
  await receive(store, [delta("pump", 3)]);
  const first = await startMonitor(store);
  await using visitor = await visit(first.url);
  const { page } = visitor;
  await page.getByRole("link", { name: "pump" }).waitFor();

  await first[Symbol.asyncDispose]();
  await stateOf(page, "Reconnecting");
  assertStringIncludes(await page.getByRole("alert").innerText(), "The connection to Tally is lost.");
  assert(await page.getByRole("link", { name: "pump" }).isVisible());

  await receive(store, [delta("pump", 1), delta("valve", 1)]);
  await using _second = await startMonitor(store, { port: first.port });
  await stateOf(page, "Live");
  await page.getByRole("link", { name: "valve" }).waitFor();
  await page.getByRole("cell", { name: "4", exact: true }).waitFor();
  visitor.assertNoProblems([REFUSED, UNAVAILABLE, "net::ERR_"]);
});

Deno.test("Device view: shows when the store is down, and recovers without a reload", async () => {
  await using redis = await startRedis({ appendonly: "yes" });
  const store = await openStore(redis, { commandTimeoutMs: 500 });
  try {
    await receive(store, [delta("pump", 3)]);
    await using monitor = await startMonitor(store);
    await redis.kill9();
    await using visitor = await visit(`${monitor.url}?device=pump`);
    const { page } = visitor;
    await stateOf(page, "Store down");
    await redis.start();
    await page.getByRole("heading", { name: "pump" }).waitFor();
    await page.locator("#device-count", { hasText: "3" }).waitFor();
    visitor.assertNoProblems([UNAVAILABLE]);
  } finally {
    await store.close();
  }
});

Deno.test("GET / and /page/{file} have nothing inline or external, and answer 304 until they change", async () => {
  await using store = await temporaryStore();
  await using monitor = await startMonitor(store);
  const answer = await fetch(monitor.url);
  const html = await answer.text();
  const policy = answer.headers.get("content-security-policy") ?? "";
  for (const rule of ["default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"]) {
    assertStringIncludes(policy, rule);
  }
  assertEquals(policy.includes("unsafe"), false);
  assertMatch(html, /^<!DOCTYPE html>/);
  assertEquals(/\son\w+=|style=|<style|<script(?! type="module" src="\/page\/)/.test(html), false);

  const links = [...html.matchAll(/(?:src|href)="(\/page\/[^"]+)"/g)].map((match) => match[1]!);
  const imports = new Set(links);
  for (const link of links) {
    const file = await fetch(new URL(link, monitor.url));
    const text = await file.text();
    assertEquals(file.status, 200, link);
    assertEquals(/\/\*|^\s*\/\//m.test(text), false, `${link} has comments`);
    for (const [, name] of text.matchAll(/^import .* from "\.\/(.+)";$/gm)) {
      assert(imports.has(`/page/${name}`), `${link} imports ${name}, which index.html does not preload`);
    }
    const again = await fetch(new URL(link, monitor.url), {
      headers: { "if-none-match": file.headers.get("etag") ?? "" },
    });
    assertEquals(again.status, 304, link);
    await again.body?.cancel();
  }
  const missing = await fetch(new URL("/page/nothing.js", monitor.url));
  assertEquals(missing.status, 404);
  await missing.body?.cancel();
});
