/** Deno's built-in OpenTelemetry with Tally's own metrics and spans, as a collector receives them. */
import { assert, assertEquals } from "@std/assert";

import { framedPacket, packet, RawCall } from "../support/harness.ts";
import { Program } from "../support/program.ts";
import { until } from "../support/until.ts";

/** A collector of OTLP over HTTP: what came, by path, as text in which names can be searched. */
function startCollector() {
  const received: Record<string, string> = {};
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const { pathname } = new URL(request.url);
    received[pathname] = (received[pathname] ?? "") + new TextDecoder("latin1").decode(await request.bytes());
    return new Response(new Uint8Array(), { headers: { "content-type": "application/x-protobuf" } });
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    received,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

Deno.test("main.ts with OTEL_DENO=true exports metrics and spans of requests and batches; without it nothing", async () => {
  for (const on of ["true", "false"]) {
    await using collector = startCollector();
    await using program = await Program.start([], {
      OTEL_DENO: on,
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_METRIC_EXPORT_INTERVAL: "200",
      OTEL_BSP_SCHEDULE_DELAY: "200",
    });
    const { port: http } = await program.line("api listening");
    const { port } = await program.line("ingest listening");
    assertEquals((await new RawCall(Number(port)).finish(framedPacket(packet()))).code, 0);
    await (await fetch(`http://127.0.0.1:${http}/fleet`)).text();
    if (on === "true") {
      const has = (path: string, name: string) => collector.received[path]?.includes(name) ?? false;
      for (
        const name of [
          ...["tally_ingest_packets_stored_total", "tally_ingest_queue_packets", "tally_api_connections"],
          ...["tally_ingest_flush_duration_seconds_count", "http.server.request.duration"],
        ]
      ) await until(() => has("/v1/metrics", name), `${name} is exported`);
      await until(
        () => has("/v1/traces", "tally.flush") && has("/v1/traces", "/fleet"),
        "spans are exported",
      );
    }
    program.signal("SIGTERM");
    assertEquals((await program.end()).code, 0);
    if (on === "false") assertEquals(collector.received, {});
    else assert(Object.keys(collector.received).length >= 2);
  }
});
