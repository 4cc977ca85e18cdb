/** TLS of the readers' port, with certificates made by openssl. */
import { connect as connectTcp } from "node:net";
import { connect } from "node:tls";

import { assert, assertEquals } from "@std/assert";

import { HttpServer } from "../../src/http/http_server.ts";
import { HttpCounters, type HttpLimits } from "../../src/http/reader_server.ts";
import { TlsFiles } from "../../src/tls/tls_files.ts";
import { Certificates } from "../support/certificates.ts";
import { ingestDefaults, temporaryStore } from "../support/harness.ts";
import { openssl } from "../support/openssl_client.ts";
import { apiDefaults, startTestApi } from "../support/test_api.ts";
import { until } from "../support/until.ts";

const { log } = ingestDefaults;

function openFiles(certificates: Certificates): Promise<TlsFiles> {
  const file = (name: string) => ({ setting: name, path: certificates.file(name) });
  const paths = { cert: file("server.pem"), key: file("server.key") };
  return TlsFiles.open(paths, { log, now: Date.now, intervalMs: 20 });
}

/** A server whose `/events` has no end. */
async function serve(certificates: Certificates, limits: Partial<HttpLimits> = {}) {
  const files = await openFiles(certificates);
  const counters = new HttpCounters();
  const options = {
    ...apiDefaults,
    responseTimeoutMs: 60_000,
    onError: () => new Response(),
    tls: files,
    ...limits,
  };
  let events!: ReadableStreamDefaultController<Uint8Array>;
  const server = new HttpServer(options, counters, (request, connection) => {
    if (new URL(request.url).pathname !== "/events") return new Response(`answer to ${request.url}`);
    const body = new ReadableStream<Uint8Array>({ start: (controller) => void (events = controller) });
    return new Response(connection.eventStream(body));
  });
  return {
    port: server.address.port,
    files,
    counters,
    event: (text: string) => events.enqueue(new TextEncoder().encode(text)),
    endEvents: () => events.close(),
    async [Symbol.asyncDispose]() {
      const deadline = Promise.withResolvers<void>();
      const timer = setTimeout(deadline.resolve, 1000);
      await server.close(deadline.promise);
      clearTimeout(timer);
      await files.close();
    },
  };
}

/** Connects, sends `bytes`, and resolves to what the server sent until it closed the connection. */
function exchange(port: number, bytes: string): Promise<string> {
  return new Promise((resolve) => {
    let received = "";
    const socket = connectTcp(port, "127.0.0.1", () => socket.write(bytes, "latin1"));
    socket.on("data", (chunk: Uint8Array) => received += new TextDecoder().decode(chunk));
    socket.on("error", () => {});
    socket.on("close", () => resolve(received));
  });
}

/** The subject of the certificate that a new connection is shown. */
function subjectShown(port: number, ca: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", servername: "localhost", ca }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.destroy();
    });
    socket.on("error", reject);
  });
}

Deno.test("startApi() over TLS serves HTTP/2 and HTTP/1.1, with Strict-Transport-Security", async () => {
  await using certificates = await Certificates.make();
  await using store = await temporaryStore();
  const tls = await openFiles(certificates);
  {
    await using api = await startTestApi(store, { tls });
    for (const http2 of [true, false]) {
      const caCerts = [certificates.text("ca.pem")];
      using client = Deno.createHttpClient({ caCerts, http1: !http2, http2 });
      for (const path of ["/metrics", "/healthz"]) {
        const response = await fetch(api.url + path, { client });
        assertEquals([response.status, response.headers.get("Strict-Transport-Security")], [
          200,
          "max-age=31536000",
        ]);
        await response.body?.cancel();
      }
    }
    const { version, resumed, subject } = await openssl(api.port);
    assertEquals([version, resumed, subject], ["TLSv1.3", false, "CN = server"]);
    assert(
      (await exchange(api.port, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")).startsWith("HTTP/1.1 400 "),
    );
  }
  await tls.close();
});

Deno.test("startApi() without TLS sends no Strict-Transport-Security", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store);
  const response = await fetch(`${api.url}/healthz`);
  assertEquals(response.headers.get("Strict-Transport-Security"), null);
  await response.body?.cancel();
});

Deno.test("HttpServer over TLS closes clients that do not complete the handshake", async () => {
  await using certificates = await Certificates.make();
  await using server = await serve(certificates, { headTimeoutMs: 300 });
  const startedMs = performance.now();
  await Promise.all([
    exchange(server.port, ""),
    exchange(server.port, "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
  ]);
  assert(performance.now() - startedMs < 5000);
  await until(() => server.counters.connections === 0, "both are gone");
  const { connectionsCut, tlsHandshakes, tlsHandshakesFailed } = server.counters;
  assertEquals([connectionsCut, tlsHandshakes, tlsHandshakesFailed], [2, 0, 2]);
});

Deno.test("HttpServer over TLS uses a new certificate for new connections, and event streams continue", async () => {
  await using certificates = await Certificates.make();
  await certificates.issue("next", { names: "DNS:localhost,IP:127.0.0.1" });
  await using server = await serve(certificates);
  const ca = certificates.text("ca.pem");
  using client = Deno.createHttpClient({ caCerts: [ca] });
  const response = await fetch(`https://localhost:${server.port}/events`, { client });
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  server.event("before");
  assertEquals((await reader.read()).value, "before");
  assertEquals(await subjectShown(server.port, ca), "server");
  await Deno.copyFile(certificates.file("next.key"), certificates.file("server.key"));
  await Deno.copyFile(certificates.file("next.pem"), certificates.file("server.pem"));
  let shown = "";
  await until(async () => (shown = await subjectShown(server.port, ca)) !== "server", "it is used");
  assertEquals(shown, "next");
  // Longer than the former listener lives.
  await new Promise((resolve) => setTimeout(resolve, 1200));
  server.event("after");
  assertEquals((await reader.read()).value, "after");
  server.endEvents();
  assertEquals((await reader.read()).done, true);
});
