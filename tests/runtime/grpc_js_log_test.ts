import { createServer, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";

import { setLogger } from "@grpc/grpc-js";
import { assertEquals } from "@std/assert";

import { TelemetryClient } from "../../src/client/client.ts";
import { grpcJsLogger } from "../../src/runtime/grpc_js_log.ts";
import { startLogging, stopLogging } from "../../src/runtime/log.ts";
import { preface, RawConnection, requestHeaders } from "../http2/raw_connection.ts";
import { startTestIngest, temporaryStore } from "../support/harness.ts";
import { frame } from "../support/http2_frames.ts";
import { RST_STREAM } from "../support/http2_numbers.ts";
import { until } from "../support/until.ts";

/** What is written to standard error by `console.error` while it is in scope. */
function standardError(): Disposable & { readonly lines: unknown[] } {
  const { error } = console;
  const lines: unknown[] = [];
  console.error = (...parts: unknown[]) => void lines.push(parts.join(" "));
  return { lines, [Symbol.dispose]: () => void (console.error = error) };
}

/** A legal HTTP field that grpc-js takes for no metadata, and logs. */
const note = "raw\tline";

Deno.test({
  name: "grpcJsLogger(): messages of grpc-js are debug lines of the log, and not on standard error",
  // grpc-js's keepalive timer outlives, by 30 s at the most, a session that ends before it was set up.
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    using stderr = standardError();
    await using store = await temporaryStore();
    const lines: string[] = [];
    const log = startLogging({ level: "debug", format: "json", write: (line) => lines.push(line) });
    try {
      await using ingest = await startTestIngest({ store, log });
      using connection = new RawConnection(ingest.port);
      await connection.send(preface, requestHeaders(1, "/grpc.health.v1.Health/Check", { "x-note": note }));
      await until(() => lines.some((line) => line.includes("grpc-js")), "it is in the log");
      await connection.send(frame(RST_STREAM, 0, 1, [0, 0, 0, 8]));
    } finally {
      stopLogging();
      setLogger(grpcJsLogger());
    }
    const line = JSON.parse(lines.find((line) => line.includes("grpc-js"))!);
    assertEquals([line.level, line.text.slice(0, 45)], [
      "DEBUG",
      `Failed to add metadata entry x-note: ${note}`,
    ]);
    assertEquals(stderr.lines, []);
  },
});

Deno.test("grpcJsLogger(): a client drops messages of grpc-js", async () => {
  using stderr = standardError();
  const server = createServer();
  const answered = Promise.withResolvers<void>();
  server.on("stream", (stream: ServerHttp2Stream) => {
    stream.on("error", () => {});
    stream.respond({ ":status": 200, "content-type": "application/grpc", "x-note": note }, {
      waitForTrailers: true,
    });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "3", "grpc-message": "no" }));
    stream.end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const target = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const client = await TelemetryClient.open({ target, onDisconnected: () => answered.resolve() });
  const sent = client.send({ device_id: "a", timestamp: 0, payload: new Uint8Array(1) });
  await Promise.race([answered.promise, sent.then(() => client.close())]).catch(() => {});
  await client[Symbol.asyncDispose]();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  assertEquals(stderr.lines, []);
});
