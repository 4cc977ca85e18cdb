import { once } from "node:events";
import { connect } from "node:http2";

import { assertEquals, assertInstanceOf } from "@std/assert";

import { CallerCheck } from "../../src/ingest/rpc/caller_check.ts";
import { TelemetryServer } from "../../src/ingest/server.ts";
import { CallContext } from "../../src/ingest/stream/call_context.ts";
import { DeviceStream } from "../../src/ingest/stream/device_stream.ts";
import { RequestError } from "../../src/protocol/request_error.ts";
import { framedBatch, ingestDefaults } from "../support/harness.ts";
import { seededRandom } from "../support/random.ts";
import { until } from "../support/until.ts";
import { ModelIngest } from "./model_ingest.ts";
import { deviceOf, ModelStore } from "./session_model.ts";

const noMetadata = { session: undefined, offset: undefined };

for (const fastPath of [true, false]) {
  const path = fastPath ? "fast path" : "grpc-js";

  Deno.test(`CallContext has the peer, the metadata and the cancellation of a call (${path})`, async () => {
    const store = new ModelStore(), model = new ModelIngest(store, seededRandom(1));
    const { counters } = model.ingest, { log } = ingestDefaults;
    const callers = new CallerCheck({ authenticator: undefined, counters, log, maxLookups: 1 });
    const server = await TelemetryServer.start(model.ingest, { ...ingestDefaults, fastPath, callers });
    const session = connect(`http://127.0.0.1:${server.port}`);
    session.on("error", () => {});
    const open = async (metadata: Record<string, string>) => {
      const call = session.request({
        ...{ ":method": "POST", ":path": "/TelemetryIngest/StreamBatches" },
        ...{ "content-type": "application/grpc", ...metadata },
      });
      call.on("error", () => {});
      await until(() => model.ingest.streams.size === 1, "the stream is open");
      const [stream] = model.ingest.streams;
      assertInstanceOf(stream, DeviceStream);
      return { call, context: stream.context };
    };
    try {
      const ended = await open({});
      ended.call.resume().end();
      await once(ended.call, "close");
      assertEquals([model.ingest.streams.size, ended.context.signal.aborted], [0, false]);

      const { call, context } = await open({
        "telemetry-session": "s1",
        "telemetry-offset": "0",
        "x-other": "y",
      });
      const { peer, metadata, signal } = context;
      assertEquals([peer.remoteAddress, peer.remotePort], ["127.0.0.1", session.socket.localPort]);
      assertEquals(metadata, { session: "s1", offset: "0" });
      const reply = async () => {
        await until(() => store.calls.length === 1, "the store is called");
        for (const { run, resolve } of store.calls.splice(0)) resolve(run());
      };
      await reply();
      call.write(framedBatch([{ device_id: deviceOf("s1", 0), timestamp: 0, payload: new Uint8Array(1) }]));
      await until(() => store.calls.length === 1, "a batch is being stored");
      assertEquals(signal.aborted, false);
      session.destroy();
      await until(() => signal.aborted, "the signal is aborted");
      assertEquals(model.ingest.streams.size, 0);
      await reply();
    } finally {
      session.destroy();
      await model.drain();
      await server.endCalls();
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
