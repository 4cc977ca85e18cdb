/**
 * `/openapi.json` describes the api as it is: every route is in it, and what it allows and forbids is so.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { getLogger } from "@logtape/logtape";

import { createApp } from "../src/api/app.ts";
import { temporaryStore } from "./harness.ts";
import { ListedStore } from "./listed_store.ts";
import { forSeeds, type Random } from "./random.ts";
import { addPackets, startTestApi } from "./test_api.ts";

interface Schema {
  type?: string | string[];
  enum?: string[];
  minimum?: number;
  maximum?: number;
  maxLength?: number;
  items?: Schema;
}

interface Parameter {
  name: string;
  in: "path" | "query";
  required?: boolean;
  schema: Schema;
}

interface Operation {
  summary?: string;
  parameters?: Parameter[];
  responses: Record<string, unknown>;
}

interface Document {
  openapi: string;
  paths: Record<string, Record<string, Operation>>;
}

async function documentOf(api: { url: string }): Promise<Document> {
  return await (await fetch(`${api.url}/openapi.json`)).json();
}

Deno.test("Every route is in the document, with a summary, and nothing else is", async () => {
  await using api = await startTestApi(new ListedStore());
  const { openapi, paths } = await documentOf(api);
  assertEquals(openapi, "3.1.0");
  const described = Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, { summary }]) => {
      assert(summary, `${method} ${path} has no summary`);
      return `${method.toUpperCase()} ${path}`;
    })
  );
  // What the routes use is not touched before one of them is asked.
  const app = createApp({ log: getLogger(["tally", "test"]) } as Parameters<typeof createApp>[0]);
  const routes = app.routes.filter(({ method }) => method !== "ALL")
    .map(({ method, path }) => `${method} ${path.replace(/:(\w+)/g, "{$1}")}`);
  assertEquals(described.sort(), [...new Set(routes)].sort());
});

/** Texts that break parsers. */
const nasty = [
  "",
  " ",
  "0",
  "-1",
  "1e9",
  "NaN",
  "null",
  "[]",
  "%00",
  "\u0000",
  "../..",
  "'\"<>",
  "\ud800",
  "🌡️",
];

function randomValue(random: Random, schema: Schema): string {
  if (random.chance(0.3)) return random.pick([...nasty, "x".repeat(random.int(1, 2_000))]);
  if (schema.enum !== undefined) return random.pick(schema.enum);
  if (schema.type === "integer" || schema.type === "number") {
    return String(random.int((schema.minimum ?? 0) - 1, Math.min((schema.maximum ?? 1_000) + 1, 2_000)));
  }
  return random.pick(["sensor-1", "sensor", "unknown", "by-id", ".", "温度计"]);
}

Deno.test("No request made from the document, valid or not, gets an answer that is not described", async () => {
  await using store = await temporaryStore();
  await addPackets(store, { "sensor-1": 1, "sensor-2": 2 });
  await using api = await startTestApi(store);
  const { paths } = await documentOf(api);
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation }))
  );
  await forSeeds(300, async (random) => {
    const { path, method, operation } = random.pick(operations);
    let url = path;
    const query = new URLSearchParams();
    for (const { name, in: where, required, schema } of operation.parameters ?? []) {
      const times = random.chance(0.1) ? 2 : required || random.chance(0.5) ? 1 : 0;
      for (let i = 0; i < times; i++) {
        const value = randomValue(random, schema.items ?? schema);
        // A path that lacks a part is another path.
        if (where === "query") query.append(name, value);
        else url = url.replace(`{${name}}`, encodeURIComponent(value.toWellFormed() || "x"));
      }
    }
    if (random.chance(0.1)) query.append(random.pick(nasty), random.pick(nasty));
    url = `${api.url}${url}?${query}`;
    const headers = random.chance(0.3)
      ? { accept: random.pick(["text/plain", "text/event-stream", ";q="]) }
      : {};
    const response = await fetch(url, { method: method.toUpperCase(), headers });
    await response.body?.cancel();
    const asked = new URL(url).pathname;
    const described = Object.keys(operation.responses).map(Number);
    // "." and ".." never arrive, so that what does is another path.
    const arrived = !/\/(\.|%2e){1,2}(\/|$)/i.test(url.split("?")[0]!) && !asked.includes("//");
    assert(response.status < 500, `${method} ${url} got ${response.status}`);
    if (arrived) assert(described.includes(response.status), `${method} ${url} got ${response.status}`);
  });
});

Deno.test("The documentation page and all it loads come from here, and may run under the policy it gets", async () => {
  await using api = await startTestApi(new ListedStore());
  const page = await fetch(`${api.url}/docs`);
  const html = await page.text();
  assertEquals(page.headers.get("content-type"), "text/html; charset=utf-8");
  assertStringIncludes(page.headers.get("content-security-policy")!, "script-src 'self'");
  const links = [...html.matchAll(/(?:href|src)="([^"]+)"/g)].map(([, link]) => link!);
  assertEquals(links.length, 3);
  assert(!/<script>|<style| style=| on\w+=/.test(html), "the page has scripts or styles in it");
  for (const link of links) {
    const response = await fetch(api.url + link);
    const text = await response.text();
    assertEquals(response.status, 200, link);
    assert(text.length > 50, link);
    const etag = response.headers.get("etag")!;
    const again = await fetch(api.url + link, { headers: { "if-none-match": etag } });
    assertEquals([again.status, await again.text()], [304, ""], link);
  }
});
