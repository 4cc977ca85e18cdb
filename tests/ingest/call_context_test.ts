import { connect } from "node:http2";

import { assertEquals, assertInstanceOf } from "@std/assert";

import { TelemetryServer } from "../../src/ingest/server.ts";
import { CallContext } from "../../src/ingest/stream/call_context.ts";
import { DeviceStream } from "../../src/ingest/stream/device_stream.ts";
import { RequestError } from "../../src/protocol/request_error.ts";
import { ingestDefaults } from "../support/harness.ts";
import { seededRandom } from "../support/random.ts";
import { until } from "../support/until.ts";
import { ModelIngest } from "./model_ingest.ts";
import { ModelStore } from "./session_model.ts";

const noMetadata = { session: undefined, offset: undefined };

for (const fastPath of [true, false]) {
  const path = fastPath ? "fast path" : "grpc-js";

  Deno.test(`CallContext has the peer, the metadata and the cancellation of a call (${path})`, async () => {
    const store = new ModelStore(), model = new ModelIngest(store, seededRandom(1));
    const server = await TelemetryServer.start(model.ingest, { ...ingestDefaults, fastPath });
    const session = connect(`http://127.0.0.1:${server.port}`);
    session.on("error", () => {});
    const call = session.request({
      ...{ ":method": "POST", ":path": "/TelemetryIngest/StreamBatches", "content-type": "application/grpc" },
      ...{ "telemetry-session": "s1", "telemetry-offset": "0", "x-other": "not kept" },
    });
    call.on("error", () => {});
    try {
      await until(() => model.ingest.streams.size === 1, "the stream is open");
      const [stream] = model.ingest.streams;
      assertInstanceOf(stream, DeviceStream);
      const { peer, metadata, signal } = stream.context;
      assertEquals([peer.remoteAddress, peer.remotePort], ["127.0.0.1", session.socket.localPort]);
      assertEquals(metadata, { session: "s1", offset: "0" });
      await until(() => store.calls.length === 1, "the session is claimed");
      for (const { run, resolve } of store.calls.splice(0)) resolve(run());
      assertEquals(signal.aborted, false);
      call.close();
      await until(() => signal.aborted, "the signal is aborted");
      assertEquals(model.ingest.streams.size, 0);
    } finally {
      session.destroy();
      await model.drain();
      await server.close();
    }
  });
}

Deno.test("CallContext.expireAfter() aborts the signal with DEADLINE_EXCEEDED, unless the call has ended", async () => {
  const contexts = [new CallContext({}, noMetadata), new CallContext({}, noMetadata)] as const;
  const signals = contexts.map(({ signal }) => signal);
  for (const context of contexts) context.expireAfter(1);
  contexts[1].end();
  await until(() => signals[0]!.aborted, "the deadline has passed");
  assertInstanceOf(signals[0]!.reason, RequestError);
  assertEquals([signals[0]!.reason.code, signals[1]!.aborted], ["DEADLINE_EXCEEDED", false]);
});

Deno.test("CallContext.cancel() aborts a signal that was read before or after it", () => {
  const context = new CallContext({}, noMetadata), { signal } = context;
  context.cancel();
  assertEquals([signal.aborted, signal.reason.code], [true, "ABORTED"]);
  const unread = new CallContext({}, noMetadata);
  unread.cancel();
  assertEquals(unread.signal.aborted, true);
});
