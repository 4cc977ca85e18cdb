/**
 * The api over a real socket: `/metrics`, health, and what holds for every route.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { request } from "node:http";
import { connect } from "node:http2";
import { gunzipSync } from "node:zlib";

import {
  assert,
  assertEquals,
  assertLess,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";

import type { ApiOptions, RunningApi } from "../../src/api/api.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { temporaryStore } from "../support/harness.ts";
import { ListedStore } from "../support/listed_store.ts";
import { addPackets, startTestApi, TestClock } from "../support/test_api.ts";
import { until } from "../support/until.ts";

/** A monotonic clock that the test moves, and with it the age of a snapshot. */
class StillClock {
  ms = 0;
  /** The clocks, for the api's options. */
  readonly options = { clock: { ...systemClock, monotonicMs: () => this.ms } };
}

async function withApi(
  store: ListedStore,
  body: (api: RunningApi) => Promise<void>,
  options: Partial<ApiOptions> = {},
): Promise<void> {
  await using api = await startTestApi(store, options);
  await body(api);
}

interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  bytes: Uint8Array;
  text: string;
}

/** One request on a connection of its own, with no header but `Host` and those given. */
function send(
  api: RunningApi,
  path: string,
  headers: Record<string, string> = {},
  method = "GET",
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  request({ host: api.host, port: api.port, path, headers, method, agent: false }, (response) => {
    const chunks: Uint8Array[] = [];
    response.on("data", (chunk: Uint8Array) => chunks.push(chunk));
    response.on("error", reject);
    response.on("end", () => {
      const bytes = Buffer.concat(chunks);
      resolve({ status: response.statusCode ?? 0, headers: response.headers, bytes, text: bytes.toString() });
    });
  }).on("error", reject).end();
  return promise;
}

/** The server has received the requests in progress when it has responded to one that came after them. */
async function received(api: RunningApi): Promise<void> {
  await send(api, "/healthz");
}

/** Sends bytes as they are and reads what comes until the server closes. */
async function sendRaw(api: RunningApi, bytes: string | Uint8Array<ArrayBuffer>): Promise<string> {
  using connection = await Deno.connect({ hostname: api.host, port: api.port });
  await new Blob([bytes]).stream().pipeTo(connection.writable, { preventClose: true }).catch(() => {});
  await connection.closeWrite().catch(() => {});
  let text = "";
  try {
    for await (const chunk of connection.readable) text += new TextDecoder().decode(chunk);
  } catch {
    // A reset is an answer too.
  }
  return text;
}

/** The status of `/metrics` over HTTP/2, which has `:authority` in place of `Host`. */
async function statusOverHttp2(api: RunningApi, authority: string): Promise<number> {
  const session = connect(`http://${api.host}:${api.port}`);
  try {
    const stream = session.request({ ":path": "/metrics", ":authority": authority });
    return await new Promise((resolve, reject) => {
      stream.on("response", (headers) => resolve(Number(headers[":status"]))).on("error", reject);
    });
  } finally {
    await new Promise<void>((resolve) => session.close(resolve));
  }
}

const sensor = [{ deviceId: "sensor-1", count: 10 }];

Deno.test("GET /metrics equals the reference's response", async () => {
  await withApi(new ListedStore(sensor), async (api) => {
    const { status, headers, text } = await send(api, "/metrics");
    assertEquals(status, 200);
    assertEquals(headers["content-type"], "application/json");
    assertEquals(text, '[{"device_id":"sensor-1","count":10}]');
    assertEquals(headers["content-length"], String(text.length));
  });
});

Deno.test("GET /metrics without devices: an empty list, and an empty Prometheus family", async () => {
  await withApi(new ListedStore(), async (api) => {
    assertEquals((await send(api, "/metrics")).text, "[]");
    const { text } = await send(api, "/metrics", { accept: "text/plain" });
    assertStringIncludes(text, "# TYPE tally_device_packets_total counter\n# HELP");
  });
});

Deno.test("GET /metrics sends the text format to a Prometheus server", async () => {
  const accepts = [
    // Prometheus 2.42, 2.53, 3.x, 3.x with protobuf preferred, and a plain request for text.
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
    "text/plain",
  ];
  await withApi(new ListedStore(sensor), async (api) => {
    for (const accept of accepts) {
      const { status, headers, text } = await send(api, "/metrics", { accept });
      assertEquals(status, 200, accept);
      assertEquals(headers["content-type"], "text/plain; version=0.0.4; charset=utf-8", accept);
      assertStringIncludes(
        text,
        "# HELP tally_device_packets_total Packets stored, by device.\n" +
          "# TYPE tally_device_packets_total counter\n" +
          'tally_device_packets_total{device_id="sensor-1"} 10\n',
        accept,
      );
    }
  });
});

Deno.test("GET /metrics sends JSON to browsers, curl, fetch, and for an invalid Accept", async () => {
  const accepts = [
    "*/*",
    "application/json",
    "application/json, text/plain, */*",
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "text/html",
    ';;;=,q=,,"',
    "\u00ff".repeat(2_000),
    "text/plain;q=0.5, application/json",
    "",
  ];
  await withApi(new ListedStore(sensor), async (api) => {
    for (const accept of accepts) {
      const { status, headers } = await send(api, "/metrics", { accept });
      assertEquals([status, headers["content-type"]], [200, "application/json"], accept);
    }
    const response = await fetch(`http://${api.host}:${api.port}/metrics`);
    assertEquals(await response.json(), [{ device_id: "sensor-1", count: 10 }]);
  });
});

Deno.test("GET /metrics escapes hostile device ids in both formats", async () => {
  const ids = [
    '"quoted"',
    "back\\slash",
    "\\n",
    "<script>alert(1)</script>",
    "温度计-🌡️",
    "\u202egnirts\u202c",
    "\u2028",
    '"} 1\\',
    "a".repeat(128),
    " ",
    "__proto__",
  ];
  const devices = ids.sort().map((deviceId, index) => ({ deviceId, count: index + 1 }));
  await withApi(new ListedStore(devices), async (api) => {
    const json = await send(api, "/metrics");
    assertEquals(
      JSON.parse(json.text),
      devices.map(({ deviceId, count }) => ({ device_id: deviceId, count })),
    );
    assertEquals(json.headers["x-content-type-options"], "nosniff");

    const { text } = await send(api, "/metrics", { accept: "text/plain" });
    const lines = text.split("\n").filter((line) => line.startsWith("tally_device_packets_total{"));
    const samples = lines.map((line) => {
      const [, label, count] = /^tally_device_packets_total\{device_id="((?:[^"\\]|\\[\\"n])*)"\} (\d+)$/
        .exec(line)!;
      return { deviceId: label!.replace(/\\(.)/g, (_, c) => c === "n" ? "\n" : c), count: Number(count) };
    });
    assertEquals(samples, devices);
  });
});

Deno.test("GET /metrics is complete for 100,000 devices, in each form and encoding", async () => {
  const devices = Array.from(
    { length: 100_000 },
    (_, i) => ({ deviceId: `sensor-${100_000 + i}`, count: i + 1 }),
  );
  await withApi(new ListedStore(devices), async (api) => {
    const plain = await send(api, "/metrics");
    assertEquals(plain.headers["content-length"], String(plain.bytes.length));
    assertEquals(
      JSON.parse(plain.text),
      devices.map(({ deviceId, count }) => ({ device_id: deviceId, count })),
    );

    const zipped = await send(api, "/metrics", { "accept-encoding": "gzip" });
    assertEquals(zipped.headers["content-encoding"], "gzip");
    assertLess(zipped.bytes.length, plain.bytes.length / 3);
    assertEquals(gunzipSync(zipped.bytes).toString(), plain.text);

    const prometheus = await send(api, "/metrics", { accept: "text/plain" });
    const lines = prometheus.text.split("\n");
    assertEquals(lines[2 + 99_999], 'tally_device_packets_total{device_id="sensor-199999"} 100000');
  }, { prometheusMaxDevices: 100_000 });
});

Deno.test("GET /metrics, Prometheus form: omits the last devices by id above TALLY_PROMETHEUS_MAX_DEVICES, and reports how many", async () => {
  const devices = ["b", "a", "c"].map((deviceId) => ({ deviceId, count: 1 }));
  await withApi(new ListedStore(devices), async (api) => {
    const { text } = await send(api, "/metrics", { accept: "text/plain" });
    const samples = text.split("\n").filter((line) => /^tally_device(s_omitted|_packets_total)\b/.test(line));
    assertEquals(samples, [
      'tally_device_packets_total{device_id="a"} 1',
      'tally_device_packets_total{device_id="b"} 1',
      "tally_devices_omitted 1",
    ]);
  }, { prometheusMaxDevices: 2 });
});

Deno.test("GET /metrics uses gzip when the reader accepts it and the body is large enough", async () => {
  const many = Array.from({ length: 1_000 }, (_, i) => ({ deviceId: `sensor-${i}`, count: i }));
  await withApi(new ListedStore(many), async (api) => {
    const encoding = async (accepted: string) =>
      (await send(api, "/metrics", { "accept-encoding": accepted })).headers["content-encoding"];
    assertEquals(await encoding("gzip"), "gzip");
    assertEquals(await encoding("gzip, deflate, br, zstd"), "gzip");
    assertEquals(await encoding("*"), "gzip");
    assertEquals(await encoding("gzip;q=0"), undefined);
    assertEquals(await encoding("br"), undefined);
    assertEquals(await encoding("gzip;q=0.5, identity"), undefined);
    assertEquals((await send(api, "/metrics")).headers["content-encoding"], undefined);
    assertEquals((await send(api, "/metrics")).headers["vary"], "Accept, Accept-Encoding");
  });
  await withApi(new ListedStore(sensor), async (api) => {
    assertEquals(
      (await send(api, "/metrics", { "accept-encoding": "gzip" })).headers["content-encoding"],
      undefined,
    );
  });
});

Deno.test("GET /metrics answers 304 for a known ETag until the counts change", async () => {
  const store = new ListedStore(
    Array.from({ length: 100 }, (_, i) => ({ deviceId: `sensor-${i}`, count: 1 })),
  );
  const clock = new StillClock();
  await withApi(store, async (api) => {
    const forms = [{}, { "accept-encoding": "gzip" }];
    const etags: string[] = [];
    for (const form of forms) {
      const { headers } = await send(api, "/metrics", form);
      const etag = String(headers["etag"]);
      assertMatch(etag, /^"[\w-]+"$/);
      etags.push(etag);
      clock.ms += 1_000; // a new snapshot with the same counts
      for (const condition of [etag, `W/${etag}`, `"other", ${etag}`, "*"]) {
        const again = await send(api, "/metrics", { ...form, "if-none-match": condition });
        assertEquals([again.status, again.text, again.headers["etag"]], [304, "", etag], condition);
      }
      assertEquals((await send(api, "/metrics", { ...form, "if-none-match": '"other"' })).status, 200);
    }
    assertEquals(new Set(etags).size, forms.length, "each encoding has a tag of its own");
    // In Prometheus's form the process has its figures, which are never the same.
    assertEquals((await send(api, "/metrics", { accept: "text/plain" })).headers["etag"], undefined);

    store.devices = [{ deviceId: "sensor-1", count: 2 }];
    clock.ms += 1_000;
    const changed = await send(api, "/metrics", { "if-none-match": etags[0]! });
    assertEquals(changed.status, 200);
    assertNotEquals(changed.headers["etag"], etags[0]);
  }, { ...clock.options, warmForMs: 0 });
});

Deno.test("HEAD answers as GET on every route, with the body's content-length", async () => {
  const many = Array.from({ length: 10_000 }, (_, i) => ({ deviceId: `sensor-${i}`, count: i }));
  await withApi(new ListedStore(many), async (api) => {
    const paths = [
      ...[
        "/",
        "/page/main.js",
        "/docs",
        "/docs/start.js",
        "/openapi.json",
        "/metrics",
        "/healthz",
        "/readyz",
      ],
      ...["/fleet", "/devices", "/devices/sensor-1", "/devices/by-id?id=sensor-1", "/events"],
      ...["/histories?devices=sensor-1"],
      // And what is not found or not allowed.
      ...["/nothing", "/devices/unknown", "/devices/sensor-1/history", "/devices?limit=0", "/page/nothing"],
    ];
    for (const path of paths) {
      for (const headers of [{}, { "accept-encoding": "gzip" }]) {
        const get = await send(api, path, headers);
        const head = await send(api, path, headers, "HEAD");
        const about = ({ status, headers }: Answer) => [status, headers["content-type"], headers["etag"]];
        assertEquals(about(head), about(get), path);
        assertEquals(
          [head.text, head.headers["content-encoding"]],
          ["", get.headers["content-encoding"]],
          path,
        );
        assertEquals(head.headers["content-length"], String(get.bytes.length), path);
      }
    }
    for (const path of ["/live", "/events"]) {
      const head = await send(api, path, { accept: "text/event-stream" }, "HEAD");
      assertEquals([head.status, head.headers["content-type"]], [200, "text/event-stream"]);
      assertEquals(head.headers["content-length"], undefined, `${path} has no length`);
    }
    // Rates may have changed between the two.
    await until(async () => {
      const { headers: { etag } } = await send(api, "/devices");
      return (await send(api, "/devices", { "if-none-match": String(etag) }, "HEAD")).status === 304;
    }, "HEAD answers 304");
  }, { clock: { ...systemClock, unixMs: () => 1_700_000_000_000 } });
});

Deno.test("GET /devices, /fleet and /histories are compressed, and answer 304 while they are unchanged", async () => {
  await using store = await temporaryStore();
  const clock = new TestClock();
  const ids = Array.from({ length: 50 }, (_, i) => `sensor-${i}`);
  const all = Object.fromEntries(ids.map((id) => [id, 1]));
  await addPackets(store, all, { receivedAtMs: clock.unixMs });
  await using api = await startTestApi(store, { ...clock.options, maxAgeMs: 0 });
  const query = ids.map((id) => `devices=${id}`).join("&");
  const paths = ["/devices", "/devices/sensor-1/history", "/fleet", `/histories?${query}`, "/events"];
  for (const path of paths) {
    const plain = await send(api, path);
    const zipped = await send(api, path, { "accept-encoding": "gzip, br" });
    assertEquals(gunzipIfNeeded(zipped), plain.text, path);
    const isSmall = plain.bytes.length < 1_024;
    assertEquals(zipped.headers["content-encoding"], isSmall ? undefined : "gzip", path);
    if (!isSmall) assertLess(zipped.bytes.length, plain.bytes.length / 3, path);
    assertStringIncludes(String(plain.headers["vary"]), "Accept-Encoding", path);
    assertEquals(plain.headers["cache-control"], "no-cache", path);
    const etag = String(plain.headers["etag"]);
    assertMatch(etag, /^W\/"[\w-]{22}"$/, path);
    for (const condition of [etag, etag.slice(2), `"x", ${etag}`, "*"]) {
      clock.pass(1);
      const again = await send(api, path, { "if-none-match": condition });
      assertEquals([again.status, again.text, again.headers["etag"]], [304, "", etag], path);
    }
    assertEquals((await send(api, path, { "if-none-match": 'W/"x"' })).status, 200, path);
  }
  const etags = await Promise.all(paths.map(async (path) => (await send(api, path)).headers["etag"]));
  await addPackets(store, { "sensor-1": 1 }, { receivedAtMs: clock.unixMs });
  clock.pass(1_000);
  await send(api, "/fleet");
  for (const [i, path] of paths.entries()) {
    const { status } = await send(api, path, { "if-none-match": String(etags[i]) });
    assertEquals(status, path === "/events" ? 304 : 200, path);
  }
});

function gunzipIfNeeded({ headers, bytes }: Answer): string {
  return Buffer.from(headers["content-encoding"] === "gzip" ? gunzipSync(bytes) : bytes).toString();
}

Deno.test("GET /healthz is 200 while the process runs, GET /readyz while the store responds", async () => {
  const store = new ListedStore();
  await withApi(store, async (api) => {
    store.failure = new StoreError("PING redis://secret-host: connection refused");
    assertEquals((await send(api, "/healthz")).text, '{"status":"ok"}');
    const notReady = await send(api, "/readyz");
    assertEquals(notReady.status, 503);
    assertEquals(JSON.parse(notReady.text).error, "the store is unreachable: try again");
    store.failure = undefined;
    const ready = await send(api, "/readyz");
    assertEquals([ready.status, ready.text], [200, '{"status":"ok"}']);
  });
});

Deno.test("GET /readyz is 503 until all devices were read once, GET /healthz is not", async () => {
  const store = new ListedStore(sensor);
  const first = Promise.withResolvers<void>(), later = Promise.withResolvers<void>();
  store.gate = first.promise;
  await withApi(store, async (api) => {
    let responded = false;
    const ready = send(api, "/readyz").finally(() => responded = true);
    await until(() => store.reads > 0, "the devices are read");
    for (let i = 0; i < 3; i++) assertEquals((await send(api, "/healthz")).status, 200);
    assertEquals(responded, false);
    store.gate = later.promise;
    first.resolve();
    assertEquals((await ready).status, 200);
    assertEquals((await send(api, "/readyz")).status, 200);
    later.resolve();
  }, { clock: new StillClock().options.clock });
});

Deno.test("Every response has headers against content sniffing and framing", async () => {
  const store = new ListedStore(sensor);
  await withApi(store, async (api) => {
    for (const path of ["/metrics", "/healthz", "/nothing"]) {
      const { headers } = await send(api, path);
      assertEquals(headers["x-content-type-options"], "nosniff", path);
      assertEquals(headers["x-frame-options"], "DENY", path);
      assertStringIncludes(String(headers["content-security-policy"]), "default-src 'none'", path);
    }
  });
});

Deno.test("AllowedHosts: requests for an address, localhost, the bound name and TALLY_HTTP_ALLOWED_HOSTS only", async () => {
  await withApi(new ListedStore(sensor), async (api) => {
    const statusFor = async (host: string, path = "/metrics") => (await send(api, path, { host })).status;
    const served = [
      "127.0.0.1",
      "127.0.0.1:8000",
      "10.1.2.3:1",
      "[::1]:8000",
      "[fe80::1]",
      "0x7f.1",
      "2130706433",
    ];
    served.push("localhost", "LOCALHOST:8000", "localhost.", "tally.localhost", "tally.example.com");
    served.push("Tally.Example.COM.:443", "a.fleet.example", "a.b.fleet.example:1");
    for (const host of served) assertEquals(await statusFor(host), 200, host);
    const refused = [
      "evil.test",
      "evil.test:8000",
      "localhost.evil.test",
      "127.0.0.1.evil.test",
      "notlocalhost",
    ];
    refused.push(
      "fleet.example",
      "example.com",
      "127.0.0.1@evil.test",
      "evil.test#127.0.0.1",
      "127.0.0.1/evil.test",
    );
    refused.push("1.2.3.4.5", "evil.test:99999", "a, b", "null");
    for (const host of refused) {
      for (
        const path of [
          "/",
          "/page/main.js",
          "/docs",
          "/openapi.json",
          "/metrics",
          "/devices",
          "/live",
          "/nothing",
        ]
      ) {
        assertEquals(await statusFor(host, path), 403, `${host}${path}`);
      }
      // Some of these names change the path, too.
      if (!/^[\w.:-]+$/.test(host)) continue;
      for (const path of ["/healthz", "/readyz"]) assertEquals(await statusFor(host, path), 200, host);
      assertEquals(
        (await send(api, "/devices/sensor-1", { host, origin: `http://${host}` }, "DELETE")).status,
        403,
      );
    }
    assertEquals(
      JSON.parse((await send(api, "/metrics", { host: "evil.test" })).text).error,
      'Cannot serve the host "evil.test": found a name that is not allowed; ' +
        "use an IP address or localhost, or list the name in TALLY_HTTP_ALLOWED_HOSTS",
    );
    assertMatch(
      await sendRaw(api, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\n\r\n"),
      / 40[03] /,
    );
    for (const [authority, status] of [[`127.0.0.1:${api.port}`, 200], ["evil.test", 403]] as const) {
      assertEquals(await statusOverHttp2(api, authority), status, `HTTP/2 for ${authority}`);
    }
    // Clients other than browsers may omit the header.
    assertMatch(await sendRaw(api, "GET /metrics HTTP/1.0\r\n\r\n"), /^HTTP\/1\.[01] 200 /);
  }, { allowedHosts: ["tally.example.com", "*.fleet.example"] });

  await withApi(new ListedStore(sensor), async (api) => {
    for (const host of ["evil.test", "a b"]) {
      assertEquals((await send(api, "/metrics", { host })).status, 200);
    }
  }, { allowedHosts: ["*"] });
  // The name it was bound to.
  await withApi(new ListedStore(sensor), async (api) => {
    assertEquals((await send(api, "/metrics", { host: "localhost" })).status, 200);
  }, { host: "localhost" });
});

Deno.test("GET /metrics is 503 at once when the store fails, never old counts, and 200 when it is back", async () => {
  const store = new ListedStore(sensor);
  const clock = new StillClock();
  await withApi(store, async (api) => {
    assertEquals((await send(api, "/metrics")).status, 200);
    store.failure = new StoreError("reading counts: connection lost");
    clock.ms += 251;
    const down = await send(api, "/metrics");
    assertEquals([down.status, down.headers["retry-after"]], [503, "1"]);
    assertEquals(JSON.parse(down.text).error, "the store is unreachable: try again");
    store.failure = undefined;
    assertEquals((await send(api, "/metrics")).text, '[{"device_id":"sensor-1","count":10}]');
  }, { ...clock.options, warmForMs: 0 });
});

Deno.test("GET /metrics: concurrent readers share one read of the store", async () => {
  const store = new ListedStore(sensor);
  const gate = Promise.withResolvers<void>();
  store.gate = gate.promise;
  await withApi(store, async (api) => {
    const readers = Array.from({ length: 20 }, () => send(api, "/metrics"));
    await received(api);
    gate.resolve();
    for (const { status } of await Promise.all(readers)) assertEquals(status, 200);
    assertEquals(store.reads, 1);
  }, { ...new StillClock().options, warmForMs: 0 });
});

Deno.test("GET /metrics: counts are at most 250 ms older than the request, and Age states it", async () => {
  const store = new ListedStore(sensor);
  const gate = Promise.withResolvers<void>();
  store.gate = gate.promise;
  const clock = new StillClock();
  await withApi(store, async (api) => {
    // Reading takes 125 ms, so the snapshot may be used for as long as the limit allows.
    const first = send(api, "/metrics");
    await received(api);
    clock.ms = 125;
    gate.resolve();
    assertEquals((await first).headers["tally-snapshot-age-ms"], "125");

    clock.ms = 250;
    assertEquals((await send(api, "/metrics")).headers["tally-snapshot-age-ms"], "250");
    assertEquals(store.reads, 1);
    clock.ms = 251;
    assertEquals((await send(api, "/metrics")).headers["tally-snapshot-age-ms"], "0");
    assertEquals(store.reads, 2);
  }, { ...clock.options, warmForMs: 0 });
});

Deno.test("GET /metrics: a request late in a slow read of the store gets the next one", async () => {
  const store = new ListedStore(sensor);
  const gate = Promise.withResolvers<void>();
  store.gate = gate.promise;
  const clock = new StillClock();
  await withApi(store, async (api) => {
    const early = send(api, "/metrics");
    await received(api);
    clock.ms = 251;
    const late = [send(api, "/metrics"), send(api, "/metrics")];
    await received(api);
    gate.resolve();
    assertEquals((await early).headers["tally-snapshot-age-ms"], "251");
    for (const answer of late) assertEquals((await answer).headers["tally-snapshot-age-ms"], "0");
    assertEquals(store.reads, 2);
  }, { ...clock.options, warmForMs: 0 });
});

Deno.test("HttpServer: invalid bytes on the HTTP port do not affect other readers", async () => {
  await withApi(new ListedStore(sensor), async (api) => {
    const random = crypto.getRandomValues(new Uint8Array(65_536));
    const garbage: (string | Uint8Array<ArrayBuffer>)[] = [
      random,
      "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ngarbage",
      "GET /metrics HTTP/9.9\r\n\r\n",
      'GET /metrics HTTP/1.1\r\nHost: a b"<>\r\nConnection: close\r\n\r\n',
      "GET http://elsewhere.test/nothing HTTP/1.1\r\nHost: \r\nConnection: close\r\n\r\n",
      "CONNECT elsewhere.test:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
      "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
      "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
      `GET /${"a".repeat(100_000)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
      `GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: ${"a".repeat(1_000_000)}\r\n\r\n`,
      `GET /metrics HTTP/1.1\r\nHost: x\r\n${"A: b\r\n".repeat(10_000)}\r\n`,
      "GET /metrics HTTP/1.1\r\nHost",
      "",
    ];
    for (const bytes of garbage) {
      const answer = await sendRaw(api, bytes);
      assert(!/^HTTP\/1.1 5/.test(answer), `${bytes.slice(0, 60)} was answered ${answer.slice(0, 60)}`);
    }
    assertEquals((await send(api, "/metrics")).text, '[{"device_id":"sensor-1","count":10}]');
  });
});

Deno.test("RunningApi.close() completes a running request and frees the port", async () => {
  const store = new ListedStore(sensor);
  const gate = Promise.withResolvers<void>();
  store.gate = gate.promise;
  const api = await startTestApi(store);
  const running = send(api, "/metrics");
  await received(api);
  const closed = api.close(60_000);
  gate.resolve();
  assertEquals((await running).text, '[{"device_id":"sensor-1","count":10}]');
  await closed;
  await withApi(store, (again) => Promise.resolve(assertEquals(again.port, api.port)), { port: api.port });
});

Deno.test("RunningApi.close() closes connections that do not finish in time", async () => {
  const store = new ListedStore(sensor);
  const gate = Promise.withResolvers<void>();
  store.gate = gate.promise;
  const api = await startTestApi(store);
  const hanging = send(api, "/metrics").then(() => "complete", () => "cut off");
  await received(api);
  await api.close(10);
  assertEquals(await hanging, "cut off");
  gate.resolve();
});

Deno.test("RunningApi.close() does not wait for idle connections", async () => {
  const api = await startTestApi(new ListedStore());
  using idle = await Deno.connect({ hostname: api.host, port: api.port });
  await api.close(60_000);
  assertEquals(await idle.read(new Uint8Array(1)), null);
});

Deno.test("HttpServer closes the connection of a reader that takes too long to send a body", async () => {
  const devices = Array.from(
    { length: 100_000 },
    (_, i) => ({ deviceId: `${i}`.padStart(100, "x"), count: 1 }),
  );
  await withApi(new ListedStore(devices), async (api) => {
    // 13 MB do not pass in the millisecond allowed here.
    assertEquals(await send(api, "/metrics").then(() => "whole", () => "cut off"), "cut off");
    assertEquals((await send(api, "/healthz")).status, 200);
  }, { readTimeoutMs: 1 });
});

Deno.test("startApi() rejects with the address of a port in use", async () => {
  await withApi(new ListedStore(), async (api) => {
    const error = await assertRejects(() => startTestApi(new ListedStore(), { port: api.port }));
    assertStringIncludes(error.message, `cannot serve HTTP on 127.0.0.1 port ${api.port}`);
  });
});
