/** Failed attempts, revocation on open streams, cross-site requests and CORS. */
import { assert, assertEquals, assertLess, assertMatch } from "@std/assert";
import { configureSync, getLogger, resetSync } from "@logtape/logtape";

import { FailedAttempts } from "../../src/api/http/failed_attempts.ts";
import { issueTokens, revokeTokens } from "../../src/identity/issued_tokens.ts";
import { makeToken } from "../../src/identity/token.ts";
import { withTimeout } from "../../src/runtime/timeout.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { type EventReader, openEvents } from "../support/event_reader.ts";
import { temporaryStore } from "../support/harness.ts";
import { ListedStore } from "../support/listed_store.ts";
import { addReaderToken, bearer, testAuditor } from "../support/reader_tokens.ts";
import { addPackets, RunningClock, startTestApi, type TestApi } from "../support/test_api.ts";

/** The status of a request, and the seconds of its Retry-After. */
async function getStatus(api: TestApi, token: string, path = "/fleet"): Promise<[number, number]> {
  const response = await fetch(api.url + path, { headers: bearer(token) });
  await response.body?.cancel();
  return [response.status, Number(response.headers.get("retry-after") ?? 0)];
}

Deno.test("after ten wrong tokens an address gets 429, but for tokens in use; others are forgiven with time", async () => {
  await using store = await temporaryStore();
  const clock = new RunningClock();
  await using api = await startTestApi(store, { apiAuth: "token", ...clock.options });
  const inUse = (await addReaderToken(store, ["read"])).token;
  const notYetUsed = (await addReaderToken(store, ["read"])).token;
  assertEquals(await getStatus(api, inUse), [200, 0]);
  for (let i = 0; i < 10; i++) assertEquals(await getStatus(api, makeToken()), [401, 0]);
  const [status, seconds] = await getStatus(api, makeToken());
  assertEquals(status, 429);
  assert(seconds >= 1 && seconds <= 3, `Retry-After: ${seconds}`);
  assertEquals(await getStatus(api, inUse), [200, 0]);
  assertEquals((await getStatus(api, notYetUsed))[0], 429);
  assertEquals((await getStatus(api, "", "/healthz"))[0], 200);
  clock.pass(3_000);
  assertEquals(await getStatus(api, notYetUsed), [200, 0]);

  const text =
    await (await fetch(`${api.url}/metrics`, { headers: { ...bearer(inUse), accept: "text/plain" } })).text();
  const counts = Object.fromEntries(
    Array.from(
      text.matchAll(/^tally_api_auth_failures_total\{reason="(\w+)"\} (\d+)$/gm),
      ([, name, count]) => [name, Number(count)],
    ),
  );
  assertEquals(counts, { missing: 0, malformed: 0, unknown: 10, scope: 0, slowed: 2 });
});

Deno.test("an address that floods the api with wrong tokens is slowed for 33 s at most", async () => {
  await using store = await temporaryStore();
  const clock = new RunningClock();
  await using api = await startTestApi(store, { apiAuth: "token", ...clock.options });
  const answers = await Promise.all(Array.from({ length: 200 }, () => getStatus(api, makeToken())));
  assertEquals(answers.filter(([status]) => status !== 401 && status !== 429), []);
  const [status, seconds] = await getStatus(api, makeToken());
  assertEquals(status, 429);
  assertLess(seconds, 34);
  clock.pass(33_000);
  assertEquals((await getStatus(api, makeToken()))[0], 401);
});

Deno.test("FailedAttempts slows each address for itself, and remembers a bounded number of them", () => {
  let nowMs = 0;
  const attempts = new FailedAttempts(() => nowMs);
  for (let i = 0; i < 10; i++) attempts.failed("a");
  assertEquals([attempts.waitMs("a"), attempts.waitMs("b")], [3_000, 0]);
  nowMs += 1_000;
  assertEquals(attempts.waitMs("a"), 2_000);
  nowMs += 2_000;
  assertEquals(attempts.waitMs("a"), 0);
  attempts.failed("a");
  assertEquals(attempts.waitMs("a"), 3_000);
  for (let i = 0; i < 10_000; i++) attempts.failed(`other ${i}`);
  assertEquals(attempts.waitMs("a"), 0, "forgotten for others");
});

Deno.test("while the store cannot be read, a token that was not used before gets 503, and probes their answers", async () => {
  const store = new ListedStore();
  await using api = await startTestApi(store, { apiAuth: "token" });
  store.failure = new StoreError("the test's store is down");
  for (let i = 0; i < 20; i++) {
    assertEquals(await getStatus(api, makeToken()), [503, 1], "no attempt has failed");
  }
  assertEquals(await getStatus(api, "", "/healthz"), [200, 0]);
  assertEquals((await getStatus(api, "", "/readyz"))[0], 503);
  assertEquals((await getStatus(api, "", "/"))[0], 200);
});

Deno.test("no token gets into a log line, whatever becomes of its request", async () => {
  const lines: string[] = [];
  configureSync({
    sinks: { lines: (record) => lines.push(JSON.stringify([record.message, record.properties])) },
    loggers: [
      { category: "tally", lowestLevel: "debug", sinks: ["lines"] },
      { category: ["logtape", "meta"], lowestLevel: "warning", sinks: ["lines"] },
    ],
    reset: true,
  });
  try {
    await using store = await temporaryStore();
    const clock = new RunningClock();
    const log = getLogger(["tally", "test"]);
    await using api = await startTestApi(store, { apiAuth: "token", log, ...clock.options });
    const metrics = (await addReaderToken(store, ["metrics"])).token;
    const sent = [metrics, ...Array.from({ length: 15 }, makeToken), "letmein-letmein"];
    for (const token of sent) {
      clock.pass(10_000); // A line each.
      await getStatus(api, token);
    }
    assert(lines.filter((line) => line.includes("refused")).length >= 10, lines.join("\n"));
    assertEquals(lines.filter((line) => sent.some((token) => line.includes(token.slice(6, 20)))), []);
  } finally {
    resetSync();
  }
});

/** Fails unless the api ends these streams in time. */
async function endsWithin5S(streams: readonly EventReader[]): Promise<void> {
  const ended = Promise.all(streams.map(async (stream) => {
    while (await stream.next() !== undefined);
  }));
  await withTimeout(5_000, ended, () => {
    throw new Error("streams are still open after 5 s");
  });
}

Deno.test("a revoked token's streams of /live and /events end within 5 s; those of other tokens do not notice", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store, { apiAuth: "token" });
  const [revoked, kept] = [await addReaderToken(store, ["read"]), await addReaderToken(store, ["read"])];
  await using live = await openEvents(`${api.url}/live`, bearer(revoked.token));
  await using events = await openEvents(`${api.url}/events`, bearer(revoked.token));
  await using other = await openEvents(`${api.url}/live`, bearer(kept.token));
  for (const stream of [live, other]) await stream.nextOf("fleet");
  // As another process revokes it.
  await revokeTokens(store, testAuditor(store), "test", [revoked.record.id]);
  await endsWithin5S([live, events]);
  await addPackets(store, { "sensor-1": 1 });
  assertEquals((await other.nextOf("fleet")).name, "fleet");
  assertEquals(await getStatus(api, revoked.token), [401, 0]);
  assertEquals(await getStatus(api, kept.token), [200, 0]);
});

Deno.test("100 streams of a revoked token end within 5 s, 100 of another stay", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store, { apiAuth: "token" });
  const [revoked, kept] = await issueTokens(store, testAuditor(store), "test", {
    ...{ kind: "reader", subjects: ["revoked", "kept"], scopes: ["read"] },
  });
  const open = (token: string) =>
    Promise.all(Array.from({ length: 100 }, () => openEvents(`${api.url}/events`, bearer(token))));
  const ending = await open(revoked!.token);
  const staying = await open(kept!.token);
  let ended = 0;
  const stays = staying.map((stream) => stream.next().then(() => ended++));
  await revokeTokens(store, testAuditor(store), "test", [revoked!.record.id]);
  await endsWithin5S(ending);
  assertEquals(ended, 0);
  await Promise.all([...ending, ...staying].map((stream) => stream[Symbol.asyncDispose]()));
  await Promise.all(stays);
});

const otherSites: Record<string, string>[] = [
  { origin: "https://evil.example" },
  { origin: "null" },
  { "sec-fetch-site": "cross-site" },
  { "sec-fetch-site": "same-site" },
];

Deno.test("writes of an anonymous page of another site are refused on every path", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store, { corsOrigins: ["https://dashboard.example"] });
  for (const headers of [...otherSites, { origin: "https://dashboard.example" }]) {
    await addPackets(store, { "sensor-1": 1 });
    for (
      const [method, path] of [["DELETE", "/devices/sensor-1"], ["POST", "/tokens/readers"], ["PUT", "/"]]
    ) {
      const response = await fetch(api.url + path, { method: method!, headers });
      await response.body?.cancel();
      assertEquals(response.status, 403, `${method} ${path} ${JSON.stringify(headers)}`);
    }
  }
});

Deno.test("a write with an admin's token is served from any site: a browser does not send a token by itself", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store, { apiAuth: "token" });
  const { token } = await addReaderToken(store, ["admin"]);
  for (const headers of otherSites) {
    await addPackets(store, { "sensor-1": 1 });
    const remove = (extra: Record<string, string>) =>
      fetch(`${api.url}/devices/sensor-1`, { method: "DELETE", headers: { ...headers, ...extra } });
    const refused = await remove({ cookie: `token=${token}` });
    await refused.body?.cancel();
    assertEquals(refused.status, 401);
    assertEquals((await remove(bearer(token))).status, 204);
  }
});

/** The answer to a browser's preflight request for a page of `origin`. */
async function preflight(api: TestApi, origin: string, method: string) {
  const response = await fetch(`${api.url}/devices/sensor-1`, {
    method: "OPTIONS",
    headers: {
      origin,
      "access-control-request-method": method,
      "access-control-request-headers": "authorization",
    },
  });
  await response.body?.cancel();
  return response;
}

Deno.test("CORS is closed by default", async () => {
  await using store = await temporaryStore();
  for (const apiAuth of ["none", "token"] as const) {
    await using api = await startTestApi(store, { apiAuth });
    const response = await preflight(api, "https://dashboard.example", "GET");
    assertEquals(response.status, apiAuth === "none" ? 405 : 401);
    const { token } = await addReaderToken(store, ["read"]);
    const read = await fetch(`${api.url}/fleet`, {
      headers: { ...bearer(token), origin: "https://dashboard.example" },
    });
    await read.body?.cancel();
    for (const { headers } of [response, read]) {
      assertEquals([...headers.keys()].filter((name) => name.startsWith("access-control")), []);
    }
  }
});

Deno.test("CORS_ORIGINS opens the api to pages of the origins listed, and to no other", async () => {
  await using store = await temporaryStore();
  const corsOrigins = ["https://dashboard.example", "http://localhost:3000"];
  await using api = await startTestApi(store, { apiAuth: "token", corsOrigins });
  const { token } = await addReaderToken(store, ["read"]);
  for (const origin of corsOrigins) {
    const { status, headers } = await preflight(api, origin, "DELETE");
    assertEquals([status, headers.get("access-control-allow-origin")], [204, origin]);
    assertMatch(headers.get("access-control-allow-headers")!, /Authorization/);
    assertMatch(headers.get("access-control-allow-methods")!, /DELETE/);
    assertEquals(headers.get("access-control-allow-credentials"), null);
    for (const credentials of [bearer(token), {}]) {
      const read = await fetch(`${api.url}/fleet`, { headers: { ...credentials, origin } });
      await read.body?.cancel();
      assertEquals(read.headers.get("access-control-allow-origin"), origin, `status ${read.status}`);
      assertMatch(read.headers.get("vary")!, /Origin/);
    }
  }
  for (
    const origin of [
      "https://evil.example",
      "https://dashboard.example.evil",
      "null",
      "http://dashboard.example",
    ]
  ) {
    const { headers } = await preflight(api, origin, "GET");
    assertEquals(headers.get("access-control-allow-origin"), null, origin);
    const read = await fetch(`${api.url}/fleet`, { headers: { ...bearer(token), origin } });
    await read.body?.cancel();
    assertEquals(read.headers.get("access-control-allow-origin"), null, origin);
  }
});
