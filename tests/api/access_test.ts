/**
 * Who may call which route. The tables here state it; the routes are those of `/openapi.json`, so that a new one
 * fails until it has its line.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

import { newIncident } from "../../src/alerts/incidents/incident.ts";
import type { RuleBody } from "../../src/alerts/rules/rule.ts";
import { makeToken } from "../../src/identity/token.ts";
import type { Scope } from "../../src/identity/identity.ts";
import type { Store } from "../../src/store/store.ts";
import { temporaryStore } from "../support/harness.ts";
import { untilFolded } from "../support/monitor.ts";
import { addDeviceToken, addReaderToken, bearer, testAuditor } from "../support/reader_tokens.ts";
import { revokeTokens } from "../../src/identity/issued_tokens.ts";
import { addPackets, RunningClock, startTestApi, type TestApi } from "../support/test_api.ts";

/** The scope that each route needs. */
const routes: Readonly<Record<string, Scope | "open">> = {
  "GET /": "open",
  "GET /audit": "admin",
  "GET /devices": "read",
  "GET /devices/by-id": "read",
  "GET /devices/by-id/packets": "read",
  "GET /devices/{id}/packets": "read",
  "GET /devices/by-id/values": "read",
  "GET /devices/{id}/values/{name}": "read",
  "GET /export": "read",
  "GET /devices/by-id/history": "read",
  "GET /devices/{id}": "read",
  "GET /devices/{id}/history": "read",
  "GET /docs": "open",
  "GET /docs/{file}": "open",
  "GET /events": "read",
  "GET /fleet": "read",
  "GET /healthz": "open",
  "GET /histories": "read",
  "GET /incidents": "read",
  "GET /incidents/{id}": "read",
  "GET /live": "read",
  "GET /metrics": "metrics",
  "GET /mutes": "read",
  "GET /openapi.json": "open",
  "GET /page/{file}": "open",
  "GET /readyz": "open",
  "GET /tags": "read",
  "GET /values": "read",
  "GET /rules": "read",
  "GET /rules/{id}": "read",
  "GET /tokens": "admin",
  "DELETE /devices/by-id": "admin",
  "DELETE /devices/{id}": "admin",
  "DELETE /mutes/{id}": "admin",
  "DELETE /rules/{id}": "admin",
  "DELETE /tokens/{id}": "admin",
  "PATCH /devices/by-id": "admin",
  "PATCH /devices/{id}": "admin",
  "POST /devices/import": "admin",
  "POST /channels/{name}/test": "admin",
  "POST /incidents/{id}/acknowledge": "admin",
  "POST /mutes": "admin",
  "POST /rules": "admin",
  "POST /rules/import": "admin",
  "POST /tokens/devices": "admin",
  "POST /tokens/readers": "admin",
  "PUT /rules/{id}": "admin",
};

/** What a token of one scope may do. */
const included: Readonly<Record<Scope, readonly Scope[]>> = {
  metrics: ["metrics"],
  read: ["metrics", "read"],
  admin: ["metrics", "read", "admin"],
};

/** Scopes of tokens, from the least. */
const scopes = ["metrics", "read", "admin"] as const;

const json = { "content-type": "application/json" };

/** A request that is right but for its credentials. */
interface Call {
  readonly route: string;
  readonly method: string;
  readonly path: string;
  readonly body: unknown;
  /** The status with the right credentials. */
  readonly success: number;
}

interface Operation {
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: string;
    readonly required?: boolean;
    readonly schema: { readonly enum?: readonly string[] };
  }[];
}

/** Values of parameters that are required. */
const values: Readonly<Record<string, string>> = {
  id: "sensor-1",
  devices: "sensor-1",
  kind: "reader",
  name: "slack", // a value, and a channel
};

const rule: RuleBody = {
  ...{ name: "Any", enabled: true, severity: "warning", devices: "*", tag: null, channels: null },
  condition: { kind: "offline", after_ms: 60_000 },
};

const bodies: Readonly<Record<string, unknown>> = {
  "PATCH /devices/{id}": { tags: { site: "oslo" } },
  "PATCH /devices/by-id": { name: "Pump" },
  "POST /devices/import": { devices: [{ device_id: "sensor-1", notes: "imported" }] },
  "POST /incidents/{id}/acknowledge": { note: "" },
  "POST /mutes": {
    ...{ rule_id: null, devices: "*", tag: null, comment: "", repeat: "none", from_ms: null, for_ms: 60_000 },
  },
  "POST /rules": rule,
  "POST /rules/import": { rules: [{ id: "imported", ...rule }] },
  "PUT /rules/{id}": { version: 1, ...rule },
  "POST /tokens/devices": { devices: ["sensor-1", "factory-7/*"] },
  "POST /tokens/readers": { name: "prometheus", scopes: ["metrics"] },
};

/** Nothing listens there. */
const slackUrl = "http://127.0.0.1:9/";

/** What requests name, where it is no device. */
const ids: Readonly<Record<string, string>> = {
  tokens: "test-token",
  rules: "test-rule",
  mutes: "test-mute",
  incidents: "1",
};

/** A call of each route of the document; one for each file of the page. */
async function callsOf(api: TestApi): Promise<Call[]> {
  const { paths } = await (await fetch(`${api.url}/openapi.json`)).json();
  const operations = Object.entries<Record<string, Operation>>(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation }))
  );
  return operations.flatMap(({ path, method, operation: { parameters = [] } }) => {
    const route = `${method} ${path}`;
    const files = parameters.find(({ name }) => name === "file")?.schema.enum ?? [""];
    const query = parameters.filter((parameter) => parameter.in === "query" && parameter.required)
      .map(({ name }) => `${name}=${values[name]}`).join("&");
    const id = ids[path.split("/")[1]!] ?? "sensor-1";
    const success = method === "DELETE"
      ? 204
      : method === "POST" && !route.endsWith("/devices/import")
      ? 201
      : 200;
    return files.map((file) => ({
      ...{ route, method, body: bodies[route], success },
      path: `${path.replace("{file}", file).replace("{id}", id).replace("{name}", "slack")}${
        query === "" ? "" : `?${query}`
      }`,
    }));
  });
}

/** What the calls need: a device with a value, and a token to remove. */
async function prepare(store: Store): Promise<void> {
  await addPackets(store, { "sensor-1": 1 }, { payload: new TextEncoder().encode('{"slack":1}') });
  await untilFolded(store);
  for (const kind of ["rule", "mute"] as const) {
    const { documents } = (await store.alertDocuments())!;
    await store.removeAlertDocuments(kind, documents.filter((d) => d.kind === kind).map(({ id }) => id));
  }
  await store.putAlertDocuments([
    { kind: "rule", id: "test-rule", body: JSON.stringify({ ...rule, enabled: false }) },
    { kind: "mute", id: "test-mute", body: JSON.stringify({ devices: "*", from_ms: 1, until_ms: 2 }) },
  ]);
  const [record] = await store.tokens("reader", "test-tokem", 1);
  if (record?.id === "test-token") return;
  await store.addTokens([{
    ...{ id: "test-token", kind: "reader", hash: "0".repeat(64), subject: "to be revoked", scopes: [] },
    ...{ createdMs: 1, createdBy: "test", lastUsedMs: 0 },
  }]);
}

/** Stores an incident that has ended, before an api has the lease. */
async function addIncident(store: Store): Promise<void> {
  const incident = newIncident({ id: "gone", version: 1, ...rule }, {
    id: 1,
    atMs: 1,
    sinceMs: 1,
    value: undefined,
  });
  const body = JSON.stringify({ ...incident, state: "resolved", resolved_ms: 2 });
  await store.claimAlerts("test", 1_000, Date.now());
  await store.writeAlertState("test", [{ section: "incidents", field: "1", body }], Date.now());
}

/** Sends a call, by its own method and, of a GET, by HEAD too; returns its status. */
async function send(api: TestApi, call: Call, headers: Record<string, string>): Promise<number> {
  const { method, path, body } = call;
  const init = body === undefined ? {} : { body: JSON.stringify(body) };
  const response = await fetch(api.url + path, {
    method,
    headers: { ...headers, ...json },
    ...init,
  });
  const { status } = response;
  if (status === 401 || status === 403) {
    assertEquals(response.headers.get("content-type"), "application/problem+json", path);
    assertMatch(response.headers.get("www-authenticate") ?? "Bearer", /^Bearer/, path);
  }
  if (status === 401) assertStringIncludes(response.headers.get("www-authenticate")!, 'realm="tally"');
  await response.body?.cancel();
  if (method === "GET") {
    const head = await fetch(api.url + path, { method: "HEAD", headers });
    assertEquals(head.status, status, `HEAD ${path}`);
    await head.body?.cancel();
  }
  return status;
}

/** Each kind of credential; `status` with a route that needs a scope. */
async function credentials(store: Store) {
  const revoked = await addReaderToken(store, ["admin"], "revoked");
  await revokeTokens(store, testAuditor(store), "test", [revoked.record.id]);
  const device = await addDeviceToken(store, "*");
  const wrong = {
    nothing: {},
    "a wrong token": bearer(makeToken()),
    "another text": bearer("letmein"),
    "another scheme": { authorization: `Basic ${btoa("admin:admin")}` },
    "an empty header": { authorization: "" },
    "the hash of a token": bearer(revoked.record.hash),
    "a revoked token": bearer(revoked.token),
    "a device's token": bearer(device.token),
  };
  const right = new Map<Scope, { authorization: string }>();
  for (const scope of scopes) right.set(scope, bearer((await addReaderToken(store, [scope])).token));
  return { wrong, right };
}

Deno.test("/openapi.json has the routes of the table, and states for each the scope that it needs", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store);
  const { paths, components } = await (await fetch(`${api.url}/openapi.json`)).json();
  const stated = Object.fromEntries(
    Object.entries<Record<string, { security?: { token: string[] }[] }>>(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, { security }]) => [
        `${method.toUpperCase()} ${path}`,
        security?.[0]?.token[0] ?? "open",
      ])
    ),
  );
  assertEquals(stated, routes);
  assertEquals(components.securitySchemes, { token: { type: "http", scheme: "bearer" } });
});

Deno.test("every route × every credential, with API_AUTH=token, gets the status of the table", async () => {
  await using store = await temporaryStore();
  const clock = new RunningClock();
  await addIncident(store);
  await using api = await startTestApi(store, { apiAuth: "token", slackUrl, ...clock.options });
  const { wrong, right } = await credentials(store);
  const calls = await callsOf(api);
  assertEquals(new Set(calls.map(({ route }) => route)).size, Object.keys(routes).length);
  for (const call of calls) {
    const needed = routes[call.route]!;
    for (const [name, headers] of Object.entries(wrong)) {
      clock.pass(60_000); // Failed attempts are forgiven.
      const expected = needed === "open" ? call.success : 401;
      assertEquals(await send(api, call, headers), expected, `${call.method} ${call.path} with ${name}`);
    }
    for (const [scope, headers] of right) {
      await prepare(store);
      const allowed = needed === "open" || included[scope].includes(needed);
      const expected = allowed ? call.success : 403;
      assertEquals(await send(api, call, headers), expected, `${call.method} ${call.path} for ${scope}`);
    }
  }
});

Deno.test("every route × every credential, with API_AUTH=none, is served but for the tokens", async () => {
  await using store = await temporaryStore();
  await addIncident(store);
  await using api = await startTestApi(store, { slackUrl });
  const { wrong, right } = await credentials(store);
  for (const call of await callsOf(api)) {
    for (const headers of [...Object.values(wrong), ...right.values()]) {
      await prepare(store);
      const expected = call.path.startsWith("/tokens") ? 403 : call.success;
      assertEquals(await send(api, call, headers), expected, `${call.method} ${call.path}`);
    }
  }
});

Deno.test("a path and a method that no route has need a token too", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store, { apiAuth: "token" });
  const admin = bearer((await addReaderToken(store, ["admin"])).token);
  for (
    const [method, path, status] of [
      ["GET", "/nothing", 404],
      ["GET", "/metrics/", 404],
      ["GET", "/tokens/", 404],
      ["PUT", "/fleet", 405],
      ["OPTIONS", "/fleet", 405],
      ["POST", "/page/main.js", 405],
    ] as const
  ) {
    for (const [headers, expected] of [[{}, 401], [admin, status]] as const) {
      const response = await fetch(api.url + path, { method, headers });
      await response.body?.cancel();
      assertEquals(response.status, expected, `${method} ${path}`);
    }
  }
});

Deno.test("a path that is written with escapes needs the token of the route that it leads to", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store, { apiAuth: "token" });
  const metrics = bearer((await addReaderToken(store, ["metrics"])).token);
  for (
    const path of ["/%66leet", "/page%2F..%2Ffleet", "/docs/%2e%2e/fleet", "//fleet", "/fleet?x=/metrics"]
  ) {
    const response = await fetch(api.url + path, { headers: metrics });
    await response.body?.cancel();
    assert([403, 404].includes(response.status), `${path}: ${response.status}`);
  }
});

Deno.test("tokens that are added through the api work, and are revoked by it at once", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store, { apiAuth: "token" });
  const admin = bearer((await addReaderToken(store, ["admin"], "ops")).token);
  const post = async (path: string, body: unknown) => {
    const headers = { ...admin, ...json };
    const response = await fetch(api.url + path, { method: "POST", headers, body: JSON.stringify(body) });
    return {
      status: response.status,
      cache: response.headers.get("cache-control"),
      json: await response.json(),
    };
  };
  const added = await post("/tokens/readers", { name: "grafana", scopes: ["read"] });
  assertEquals([added.status, added.cache, added.json.name], [201, "no-store", "grafana"]);
  const statusOf = async (path: string, headers: Record<string, string>) => {
    const response = await fetch(api.url + path, { headers });
    await response.body?.cancel();
    return response.status;
  };
  const grafana = bearer(added.json.token);
  assertEquals(await statusOf("/fleet", grafana), 200);

  const devices = await post("/tokens/devices", { devices: ["sensor-1", "factory-7/*"] });
  assertEquals(devices.json.tokens.map(({ device }: { device: string }) => device), [
    "sensor-1",
    "factory-7/*",
  ]);
  const list = async (kind: string) =>
    (await (await fetch(`${api.url}/tokens?kind=${kind}`, { headers: admin })).json()).tokens;
  const [listed] = (await list("reader")).filter(({ id }: { id: string }) => id === added.json.id);
  assertEquals({ ...listed, created_ms: 0, last_used_ms: 0 }, {
    ...{ id: added.json.id, kind: "reader", subject: "grafana", scopes: ["read"] },
    ...{ created_ms: 0, created_by: "ops", last_used_ms: 0 },
  });
  const text = JSON.stringify([await list("reader"), await list("device")]);
  assert(!text.includes("tally_") && !/[0-9a-f]{64}/.test(text), "no token and no hash is listed");

  const revoke = () => fetch(`${api.url}/tokens/${added.json.id}`, { method: "DELETE", headers: admin });
  assertEquals((await revoke()).status, 204);
  assertEquals(await statusOf("/fleet", grafana), 401);
  const again = await revoke();
  assertEquals([again.status, (await again.json()).title], [404, "Not Found"]);
});

for (
  const [path, body] of [
    ["/tokens/devices", "{"],
    ["/tokens/devices", ""],
    ["/tokens/devices", "[]"],
    ["/tokens/devices", "{}"],
    ["/tokens/devices", '{"devices":[]}'],
    ["/tokens/devices", '{"devices":[""]}'],
    ["/tokens/devices", '{"devices":["a","a"]}'],
    ["/tokens/devices", '{"devices":["a"],"more":1}'],
    ["/tokens/devices", JSON.stringify({ devices: Array.from({ length: 1_001 }, (_, i) => `d${i}`) })],
    ["/tokens/devices", JSON.stringify({ devices: ["x".repeat(129)] })],
    ["/tokens/devices", JSON.stringify({ devices: ["a\nb"] })],
    ["/tokens/readers", '{"name":"a","scopes":["root"]}'],
    ["/tokens/readers", '{"name":"a","scopes":[]}'],
    ["/tokens/readers", '{"name":"","scopes":["read"]}'],
    ["/tokens/readers", '{"name":"a\\nb","scopes":["read"]}'],
    ["/tokens/readers", "null"],
  ] as const
) {
  Deno.test(`POST ${path} refuses the body ${body.slice(0, 40) || "(none)"}, and adds nothing`, async () => {
    await using store = await temporaryStore();
    await using api = await startTestApi(store, { apiAuth: "token" });
    const admin = bearer((await addReaderToken(store, ["admin"])).token);
    const headers = { ...admin, ...json };
    const response = await fetch(api.url + path, { method: "POST", headers, body });
    const { status, detail } = await response.json();
    assertEquals(status, 400, detail);
    assertMatch(detail, /^Cannot use the (parameter|body)/);
    assertEquals((await store.tokens("device", "", 10)).length, 0);
    assertEquals((await store.tokens("reader", "", 10)).length, 1);
  });
}

Deno.test("POST /tokens/devices refuses a body of more than 1 MiB with 413, one of unknown length with 411", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store, { apiAuth: "token" });
  const admin = bearer((await addReaderToken(store, ["admin"])).token);
  const body = JSON.stringify({ devices: ["x".repeat(2 ** 20)] });
  const response = await fetch(`${api.url}/tokens/devices`, { method: "POST", headers: admin, body });
  assertEquals([response.status, (await response.json()).title], [413, "Content Too Large"]);
  const stream = new Blob([body]).stream();
  const chunked = await fetch(`${api.url}/tokens/devices`, { method: "POST", headers: admin, body: stream });
  assertEquals([chunked.status, (await chunked.json()).title], [411, "Length Required"]);
});

Deno.test("POST /tokens/readers refuses a body that is not labelled JSON, as forms of other sites send it, with 415", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store, { apiAuth: "token" });
  const admin = bearer((await addReaderToken(store, ["admin"])).token);
  const body = JSON.stringify({ name: "a", scopes: ["admin"] });
  for (const type of ["text/plain", "application/x-www-form-urlencoded"]) {
    const headers = { ...admin, "content-type": type };
    const response = await fetch(`${api.url}/tokens/readers`, { method: "POST", headers, body });
    assertEquals([response.status, (await response.json()).title], [415, "Unsupported Media Type"]);
  }
});

Deno.test("GET /audit has who added, revoked and removed what, newest first, page by page", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store, { apiAuth: "token" });
  await addPackets(store, { "sensor-1": 1 });
  const { token, record } = await addReaderToken(store, ["admin"], "ops");
  const call = async (method: string, path: string, body?: unknown) => {
    const init = body === undefined ? {} : { body: JSON.stringify(body) };
    const response = await fetch(api.url + path, { method, headers: { ...bearer(token), ...json }, ...init });
    return response.status === 204 ? undefined : await response.json();
  };
  const { id } = await call("POST", "/tokens/readers", { name: "grafana", scopes: ["read", "metrics"] });
  await call("DELETE", "/devices/sensor-1");
  await call("DELETE", "/devices/sensor-1"); // It is gone: nothing was done.
  await call("DELETE", `/tokens/${id}`);
  const first = await call("GET", "/audit?limit=2");
  const second = await call("GET", `/audit?limit=2&before=${first.next}`);
  const entries = [...first.entries, ...second.entries];
  assertEquals(
    entries.map(({ actor, action, target, detail }) => [actor, action, target, detail]),
    [
      ["ops", "token.revoke", id, "reader grafana read metrics"],
      ["ops", "device.remove", "sensor-1", ""],
      ["ops", "token.add", id, "reader grafana read metrics"],
      ["test", "token.add", record.id, "reader ops admin"],
    ],
  );
  assertEquals((await call("GET", `/audit?before=${second.next}`)).entries, []);
  assertEquals((await call("GET", "/audit?before=0")).status, 400);
});

Deno.test("POST /tokens/devices of many is one entry of the audit log", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store, { apiAuth: "token" });
  const { token } = await addReaderToken(store, ["admin"], "ops");
  const devices = Array.from({ length: 1_000 }, (_, i) => `sensor-${i}`);
  const init = { method: "POST", headers: { ...bearer(token), ...json }, body: JSON.stringify({ devices }) };
  const response = await fetch(`${api.url}/tokens/devices`, init);
  assertEquals((await response.json()).tokens.length, 1_000);
  const [entry] = await store.audit(undefined, 10);
  assertEquals([entry!.action, entry!.target, entry!.id], ["token.add", "1000 of them", 2]);
  assertStringIncludes(entry!.detail, "device sensor-0, ");
});
