/**
 * What the guard is for, in processes where memory that is freed is overwritten (see `TallyProcess`; glibc
 * only): without it they end with a signal. When these pass without it too, it can go.
 *
 * @module
 */
import { once } from "node:events";
import { connect } from "node:http2";

import { assertEquals } from "@std/assert";

import { guardHttp2 } from "../../src/runtime/node_http2_guard.ts";
import { framedPacket, packet, RawCall } from "../support/harness.ts";
import { TallyProcess } from "../support/tally_process.ts";

Deno.test("guardHttp2() finds the native sessions of node:http2", () => assertEquals(guardHttp2(), true));

Deno.test("guardHttp2(): the server survives clients that send GOAWAY", async () => {
  await withIngest(async ({ port }) => {
    for (let i = 0; i < 20; i++) {
      const session = connect(`http://127.0.0.1:${port}`);
      await once(session, "remoteSettings");
      session.close(); // GOAWAY, and nothing is open
      await once(session, "close");
    }
  });
});

Deno.test("guardHttp2(): the server survives a connection error", async () => {
  await withIngest(async ({ port }) => {
    for (let i = 0; i < 20; i++) {
      const session = connect(`http://127.0.0.1:${port}`);
      session.on("error", () => {});
      await once(session, "remoteSettings");
      session.goaway(2); // INTERNAL_ERROR
      await once(session, "close");
    }
  });
});

Deno.test("guardHttp2(): the server survives calls that end together with their connection", async () => {
  await withIngest(async ({ port }) => {
    for (let i = 0; i < 20; i++) {
      const call = new RawCall(port, "StreamPackets", { "telemetry-session": "" });
      call.stream.write(framedPacket(packet()));
      await call.end; // INVALID_ARGUMENT, then GOAWAY
    }
  });
});

/** It has no Redis: what is requested of it here needs none. */
async function withIngest(body: (ingest: TallyProcess) => Promise<void>): Promise<void> {
  const ingest = await TallyProcess.start("ingest", { REDIS_HOST: "127.0.0.1", REDIS_PORT: "1" });
  try {
    await body(ingest);
  } finally {
    ingest.kill("SIGTERM");
    const { code, signal } = await ingest.ended;
    assertEquals({ code, signal }, { code: 0, signal: null }, ingest.output.join("\n"));
  }
}
