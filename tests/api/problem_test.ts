/**
 * What a failed request gets: problem details (RFC 9457), from the routes and from the server around them.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

import { StoreError } from "../../src/store/store_error.ts";
import { ListedStore } from "../support/listed_store.ts";
import { startTestApi } from "../support/test_api.ts";

const sensor = [{ deviceId: "sensor-1", count: 10 }];

interface Failure {
  status: number;
  type: string | null;
  headers: Headers;
  body: Record<string, unknown>;
}

async function failure(url: string, init: RequestInit = {}): Promise<Failure> {
  const response = await fetch(url, init);
  const { status, headers } = response;
  return { status, headers, type: headers.get("content-type"), body: await response.json() };
}

Deno.test("A failed request gets problem details: type, title, status, detail, instance, and error", async () => {
  const store = new ListedStore(sensor);
  await using api = await startTestApi(store, { warmForMs: 0, maxAgeMs: 0 });
  const check = async (
    path: string,
    [status, title, instance]: [number, string, string],
    detail: RegExp,
    init: RequestInit = {},
  ) => {
    const { status: actual, type, headers, body } = await failure(api.url + path, init);
    assertEquals([actual, type], [status, "application/problem+json"], path);
    assertEquals(headers.get("cache-control"), "no-store", path);
    assertEquals(headers.get("x-content-type-options"), "nosniff", path);
    assertEquals(headers.get("retry-after"), status === 503 ? "1" : null, path);
    assertMatch(String(body.detail), detail);
    assertEquals(body, {
      type: "about:blank",
      title,
      status,
      detail: body.detail,
      instance,
      error: body.detail,
    });
  };
  await check(
    "/devices?limit=0",
    [400, "Bad Request", "/devices"],
    /^Cannot use the parameter limit: found "0"/,
  );
  const otherSite = { method: "DELETE", headers: { "sec-fetch-site": "cross-site" } };
  await check("/devices/sensor-1", [403, "Forbidden", "/devices/sensor-1"], /another site/, otherSite);
  await check("/devices/no%20one", [404, "Not Found", "/devices/no%20one"], /^there is no device "no one"$/);
  await check("/devices/by-id?id=.", [404, "Not Found", "/devices/by-id"], /^there is no device "\."$/);
  for (const path of ["/nothing", "/page/nothing.js", "/docs/nothing.js"]) {
    await check(path, [404, "Not Found", path], new RegExp(`^there is nothing at ${path}$`));
  }
  const post = { method: "POST" };
  await check(
    "/devices",
    [405, "Method Not Allowed", "/devices"],
    /^Cannot POST \/devices: expected GET/,
    post,
  );
  store.failure = new TypeError("secret");
  await check(
    "/metrics",
    [500, "Internal Server Error", "/metrics"],
    /^internal error; the server's log has more$/,
  );
  store.failure = new StoreError("secret");
  await check("/metrics", [503, "Service Unavailable", "/metrics"], /^the store is unreachable: try again$/);
  await check("/readyz", [503, "Service Unavailable", "/readyz"], /^the store is unreachable: try again$/);
});

Deno.test("A problem is application/problem+json, or application/json where Accept prefers that", async () => {
  await using api = await startTestApi(new ListedStore());
  for (
    const [accept, type] of [
      ["*/*", "application/problem+json"],
      ["text/html,application/xhtml+xml,*/*;q=0.8", "application/problem+json"],
      ["application/json, application/problem+json", "application/problem+json"],
      ["application/json, text/plain, */*", "application/problem+json"],
      ["text/plain", "application/problem+json"],
      ["text/event-stream", "application/problem+json"],
      ["application/problem+json", "application/problem+json"],
      [";q=", "application/problem+json"],
      ["application/json", "application/json"],
      ["application/json, */*;q=0.5", "application/json"],
      ["Application/JSON;q=0.9, application/problem+json;q=0.1", "application/json"],
    ] as const
  ) {
    const { status, type: actual, body } = await failure(`${api.url}/nothing`, { headers: { accept } });
    assertEquals([status, actual, body.error], [404, type, "there is nothing at /nothing"], accept);
  }
});

Deno.test("GET and HEAD of an unknown path are 404", async () => {
  await using api = await startTestApi(new ListedStore(sensor));
  for (
    const path of [
      "/page",
      "/metrics/",
      "/METRICS",
      "/nothing?x=1",
      "/%E0%A4%A",
      "//metrics",
      "/../etc/passwd",
    ]
  ) {
    const { status, type } = await failure(api.url + path);
    assertEquals([status, type], [404, "application/problem+json"], path);
    const head = await fetch(api.url + path, { method: "HEAD" });
    assertEquals([head.status, head.headers.get("content-type")], [404, type], path);
    assert(Number(head.headers.get("content-length")) > 100, path);
  }
});

Deno.test("A method that a path lacks is 405, with the path's methods in Allow", async () => {
  await using api = await startTestApi(new ListedStore(sensor));
  const readOnly = [
    "/",
    "/metrics",
    "/healthz",
    "/readyz",
    "/devices",
    "/histories?devices=a",
    "/fleet",
    "/live",
  ];
  readOnly.push("/events", "/docs", "/docs/start.js", "/openapi.json", "/page/main.js", "/devices/a/history");
  for (const path of readOnly) {
    for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"]) {
      const { status, headers, body } = await failure(api.url + path, { method });
      assertEquals([status, headers.get("allow")], [405, "GET, HEAD"], `${method} ${path}`);
      assertStringIncludes(String(body.error), method);
    }
  }
  for (const path of ["/devices/sensor-1", "/devices/by-id?id=sensor-1", "/devices/by-id"]) {
    for (const method of ["POST", "PUT", "OPTIONS"]) {
      const { status, headers } = await failure(api.url + path, { method });
      assertEquals([status, headers.get("allow")], [405, "PATCH, GET, HEAD, DELETE"], `${method} ${path}`);
    }
  }
  // Nothing there: not a matter of the method.
  assertEquals((await failure(`${api.url}/nothing`, { method: "POST" })).status, 404);
});

Deno.test("RunningApi.close(): a new request gets 503 and Connection: close", async () => {
  const store = new ListedStore(sensor);
  const gate = Promise.withResolvers<void>();
  store.gate = gate.promise;
  const api = await startTestApi(store);
  const running = fetch(`${api.url}/metrics`);
  // The server has accepted the first request when it has responded to one that came after it.
  assertEquals(await (await fetch(`${api.url}/healthz`)).json(), { status: "ok" });
  const closed = api.close(10_000);
  const { status, headers, body } = await failure(`${api.url}/fleet`, {
    headers: { accept: "application/json" },
  });
  assertEquals([status, headers.get("content-type")], [503, "application/json"]);
  assertEquals([body.title, body.instance, body.error], [
    "Service Unavailable",
    "/fleet",
    "the api is shutting down: try again",
  ]);
  assertEquals(headers.get("retry-after"), "1");
  assertEquals(headers.get("connection"), "close");
  gate.resolve();
  assertEquals((await running).status, 200);
  assertEquals(await (await running).json(), [{ device_id: "sensor-1", count: 10 }]);
  await closed;
});
