/**
 * `/openapi.json` describes the api as it is: every route is in it, and what it allows and forbids is so.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { getLogger } from "@logtape/logtape";
import { createConfig, lintFromString } from "@redocly/openapi-core";
import { z } from "zod";

import { createApp } from "../../src/api/app.ts";
import { newIncident } from "../../src/alerts/incidents/incident.ts";
import type { RuleBody } from "../../src/alerts/rules/rule.ts";
import { makeToken } from "../../src/identity/token.ts";
import type { Store } from "../../src/store/store.ts";
import { temporaryStore } from "../support/harness.ts";
import { ListedStore } from "../support/listed_store.ts";
import { forSeeds, type Random } from "../support/random.ts";
import { addReaderToken } from "../support/reader_tokens.ts";
import { addPackets, startTestApi } from "../support/test_api.ts";

interface Schema {
  type?: string | string[];
  enum?: string[];
  minimum?: number;
  maximum?: number;
  maxLength?: number;
  example?: string | number;
  items?: Schema;
}

interface Parameter {
  name: string;
  in: "path" | "query";
  required?: boolean;
  schema: Schema;
}

interface Operation {
  operationId?: string;
  summary?: string;
  parameters?: Parameter[];
  requestBody?: unknown;
  responses: Record<string, { content?: Record<string, { schema: z.core.JSONSchema.JSONSchema }> }>;
}

interface Document {
  openapi: string;
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, z.core.JSONSchema.JSONSchema> };
}

async function documentOf(api: { url: string }): Promise<Document> {
  return await (await fetch(`${api.url}/openapi.json`)).json();
}

Deno.test("/openapi.json has exactly the app's routes, each with a summary", async () => {
  await using api = await startTestApi(new ListedStore());
  const { openapi, paths } = await documentOf(api);
  assertEquals(openapi, "3.1.0");
  const described = Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, { summary }]) => {
      assert(summary, `${method} ${path} has no summary`);
      return `${method.toUpperCase()} ${path}`;
    })
  );
  // The routes use their options at the first request only.
  const app = createApp(
    { log: getLogger(["tally", "test"]), corsOrigins: [] as readonly string[] } as Parameters<
      typeof createApp
    >[0],
  );
  const routes = app.routes.filter(({ method }) => method !== "ALL")
    .map(({ method, path }) => `${method} ${path.replace(/:(\w+)/g, "{$1}")}`);
  assertEquals(described.sort(), [...new Set(routes)].sort());
});

Deno.test("/openapi.json passes Redocly's recommended rules, with unique operation ids", async () => {
  await using api = await startTestApi(new ListedStore());
  const source = await (await fetch(`${api.url}/openapi.json`)).text();
  const config = await createConfig({ extends: ["recommended"] });
  const lint = async (source: string) => {
    const problems = await lintFromString({ source, config });
    return problems.map(({ ruleId, message, location }) => `${ruleId}: ${message} ${location[0]?.pointer}`);
  };
  assertEquals(await lint(source), []);
  const { paths } = JSON.parse(source) as Document;
  const ids = Object.values(paths).flatMap((path) =>
    Object.values(path).map(({ operationId }) => operationId)
  );
  assertEquals(ids.filter((id) => id === undefined || !/^[a-z]+[A-Za-z]+$/.test(id)), []);
  assertEquals(new Set(ids).size, ids.length);
  // The rules do find a fault.
  assertEquals((await lint(source.replace('"operationId":"getFleet",', ""))).length, 1);
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

/** The same as they stand in a URL, which some of them make invalid. */
const nastyEncoded = [
  ...nasty.map((text) => encodeURIComponent(text.toWellFormed())),
  "%",
  "%zz",
  "%ff",
  "%e2%82",
];

/** Header values, valid and not. */
const headerValues = {
  "accept": ["text/plain", "text/event-stream", "application/json;q=0", ";q=", "*/*;q=nonsense"],
  "accept-encoding": ["gzip", "identity;q=0", "*;q=0", ",,;"],
  "if-none-match": ["*", 'W/"x", "y"', '"', ","],
  "last-event-id": ["0", "-1", "1e400", "9".repeat(400), "x"],
  "origin": ["null", "http://elsewhere", ":"],
  "sec-fetch-site": ["same-origin", "cross-site", "?"],
};

function randomValue(random: Random, schema: Schema): string {
  if (random.chance(0.3)) {
    return random.pick([...nastyEncoded, "x".repeat(random.int(1, 2_000))]);
  }
  if (schema.example !== undefined && random.chance(0.3)) return encodeURIComponent(schema.example);
  if (schema.enum !== undefined) return random.pick(schema.enum);
  if (schema.example !== undefined && random.chance(0.5)) return encodeURIComponent(schema.example);
  if (schema.type === "integer" || schema.type === "number") {
    return String(random.int((schema.minimum ?? 0) - 1, Math.min((schema.maximum ?? 1_000) + 1, 2_000)));
  }
  return encodeURIComponent(random.pick(["sensor-1", "sensor", "unknown", "by-id", ".", "温度计"]));
}

const rule: RuleBody = {
  ...{ name: "Any", enabled: false, severity: "warning", devices: "*", tag: null, channels: null },
  condition: { kind: "offline", after_ms: 60_000 },
};

const mute = { rule_id: null, devices: "*", tag: null, comment: "", repeat: "none" };

const labels = { name: "Pump", tags: { site: "oslo", model: null }, notes: "" };

/** One for each route that takes one. */
const validBodies: Readonly<Record<string, unknown>> = {
  "post /tokens/devices": { devices: ["sensor-1", "factory-7/*"] },
  "post /tokens/readers": { name: "grafana", scopes: ["read"] },
  "patch /devices/{id}": labels,
  "patch /devices/by-id": labels,
  "post /devices/import": { devices: [{ device_id: "sensor-1", tags: { site: "oslo" } }] },
  "post /rules": rule,
  "post /rules/import": { rules: [{ ...rule, id: "imported" }] },
  "put /rules/{id}": { ...rule, version: 1 },
  "post /mutes": { ...mute, from_ms: null, for_ms: 60_000 },
  "post /incidents/{id}/acknowledge": { note: "" },
};

/** Bodies, valid and not. */
const bodies = [
  ...Object.values(validBodies).map((body) => JSON.stringify(body)),
  "device_id,site\nsensor-1,bergen",
  ...["", "{", "null", "[]", "{}", '{"devices":[1]}', '{"name":"\\u0000","scopes":["x"]}'],
];

/** A rule and a mute of the ids that requests use; others are removed. */
async function addAlerts(store: Store): Promise<void> {
  const { documents } = (await store.alertDocuments())!;
  for (const [kind, stored] of [["rule", rule], ["mute", { ...mute, from_ms: 1, until_ms: 2 }]] as const) {
    await store.removeAlertDocuments(kind, documents.filter((d) => d.kind === kind).map(({ id }) => id));
    await store.putAlertDocuments([{ kind, id: "greenhouse-hot", body: JSON.stringify(stored) }]);
  }
}

/** An incident that has ended, before an api has the lease. */
async function addIncident(store: Store): Promise<void> {
  const incident = newIncident({ id: "gone", version: 1, ...rule }, { id: 1, atMs: 1, sinceMs: 1, value: 1 });
  const body = JSON.stringify({ ...incident, state: "resolved", resolved_ms: 2 });
  await store.claimAlerts("test", 1_000, Date.now());
  await store.writeAlertState("test", [{ section: "incidents", field: "1", body }], Date.now());
}

/** A token of the id that requests use, to be revoked. */
async function addToken(store: Store): Promise<void> {
  await store.revokeTokens(["sensor-1"]);
  await store.addTokens([{
    ...{ id: "sensor-1", kind: "reader", hash: "0".repeat(64), subject: "test", scopes: [] },
    ...{ createdMs: 1, createdBy: "test", lastUsedMs: 0 },
  }]);
}

/** Parses what `schema` of the document describes. */
function parserOf(document: Document, schema: z.core.JSONSchema.JSONSchema): z.ZodType {
  const $defs = document.components.schemas;
  return z.fromJSONSchema(
    JSON.parse(JSON.stringify({ ...schema, $defs }).replaceAll("#/components/schemas/", "#/$defs/")),
  );
}

Deno.test("/openapi.json describes the response to each request made from it, valid or not", async () => {
  await using store = await temporaryStore();
  await addIncident(store);
  // Nothing listens there.
  await using api = await startTestApi(store, { apiAuth: "token", slackUrl: "http://127.0.0.1:9/" });
  const { token } = await addReaderToken(store, ["admin"]);
  const document = await documentOf(api);
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation }))
  );
  const parsers = new Map<unknown, z.ZodType>();
  const answered = new Set<string>();
  // Values have the names that requests use.
  const payload = new TextEncoder().encode('{"temperature":1,"sensor":2,"by-id":3,"state":"on"}');
  const addDevices = async () => {
    await addPackets(store, { "sensor-1": 1, "sensor-2": 2 }, { payload });
    await store.ping();
  };
  await forSeeds(150, async (random) => {
    await addDevices();
    await addToken(store);
    await addAlerts(store);
    for (const { path, method, operation } of operations) {
      let pathname = path;
      const query: string[] = [];
      // Some requests are as a client's that has read the document: each operation succeeds in some.
      const isPlain = random.chance(0.2);
      for (const { name, in: where, required, schema } of operation.parameters ?? []) {
        const times = isPlain
          ? Number(required)
          : random.chance(0.1)
          ? 2
          : required || random.chance(0.5)
          ? 1
          : 0;
        for (let i = 0; i < times; i++) {
          const value = isPlain && schema.example !== undefined
            ? encodeURIComponent(schema.example)
            : randomValue(random, schema.items ?? schema);
          // A path that lacks a part is another path.
          if (where === "query") query.push(`${name}=${value}`);
          else pathname = pathname.replace(`{${name}}`, value || "x");
        }
      }
      if (!isPlain && random.chance(0.1)) {
        query.push(`${random.pick(nastyEncoded)}=${random.pick(nastyEncoded)}`);
      }
      const url = `${api.url}${pathname}?${query.join("&")}`;
      const headers = Object.entries(headerValues).filter(() => random.chance(0.2))
        .map(([name, values]): [string, string] => [name, random.pick(values)]);
      const credentials = isPlain || random.chance(0.9) ? token : random.pick([makeToken(), "?"]);
      headers.push(["authorization", `Bearer ${credentials}`]);
      const init: RequestInit = { method: method.toUpperCase(), headers };
      if (operation.requestBody !== undefined) {
        const types = ["application/json", "application/json", "text/plain", "text/csv"];
        headers.push(["content-type", isPlain ? types[0]! : random.pick(types)]);
        const valid = validBodies[`${method} ${path}`];
        init.body = valid !== undefined && (isPlain || random.chance(0.5))
          ? JSON.stringify(valid)
          : random.pick(bodies);
      }
      const response = await fetch(url, init);
      // What comes after it finds the devices again.
      if (method === "delete") await addDevices();
      const type = response.headers.get("content-type")?.split(";")[0] ?? "";
      const isJson = type === "application/json" || type === "application/problem+json";
      const body = isJson ? await response.json() : await response.body?.cancel();
      const what = `${method} ${url} with ${JSON.stringify(headers)} got ${response.status} ${type}`;
      assert(response.status < 500, what);
      // "." and ".." never arrive, so that what does is another path.
      if (/\/(\.|%2e){1,2}(\/|$)/i.test(pathname)) continue;
      const described = operation.responses[response.status];
      assert(described !== undefined, what);
      answered.add(`${method} ${path} ${response.status}`);
      const content = described.content?.[type];
      assert((described.content === undefined) === (type === ""), what);
      assert(type === "" || content !== undefined, what);
      if (!isJson || content === undefined) continue;
      if (!parsers.has(content)) parsers.set(content, parserOf(document, content.schema));
      const { error } = parsers.get(content)!.safeParse(body);
      assert(error === undefined, `${what}, whose body is not as described: ${error?.message}`);
    }
  });
  if (Deno.env.has("SEED")) return;
  // Had it been refused each time, an operation would not have been tried.
  for (const { path, method, operation } of operations) {
    const success = `${method} ${path} ${Object.keys(operation.responses).find((status) => status < "300")}`;
    assert(answered.has(success), `never seen: ${success}`);
  }
});

Deno.test("/docs loads only files of the api, and works under its content security policy", async () => {
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
