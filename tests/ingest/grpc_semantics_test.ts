/**
 * What gRPC prescribes for calls: telemetry served by the fast path, by grpc-js, and over TLS. Every rule is tried on
 * all, and the outcomes are compared with what is expected, and so with each other.
 */
import { constants } from "node:http2";
import { deflateSync, gzipSync } from "node:zlib";

import { status } from "@grpc/grpc-js";
import { assert, assertEquals } from "@std/assert";

import { streamBatches, streamPackets } from "../../src/protocol/telemetry_proto.ts";
import {
  framed,
  framedPacket,
  openSession,
  packet,
  startTestIngest,
  temporaryStore,
  type TestTarget,
} from "../support/harness.ts";
import { startVariant, variants } from "../support/tls_ingest.ts";
import { until } from "../support/until.ts";
import { gated } from "./gated_store.ts";

interface Outcome {
  /** HTTP status; undefined when the stream was reset before a response. */
  readonly http?: number | undefined;
  /** gRPC status; one that RST_STREAM stands for where there was no response. */
  readonly grpc?: number | undefined;
  readonly message?: string | undefined;
  readonly stored?: number | undefined;
}

/** The gRPC status that RST_STREAM stands for (gRPC over HTTP/2, "Errors"). */
const resetStatuses: Record<number, number> = {
  [constants.NGHTTP2_INTERNAL_ERROR]: status.INTERNAL,
  [constants.NGHTTP2_PROTOCOL_ERROR]: status.INTERNAL,
  [constants.NGHTTP2_REFUSED_STREAM]: status.UNAVAILABLE,
  [constants.NGHTTP2_ENHANCE_YOUR_CALM]: status.RESOURCE_EXHAUSTED,
  [constants.NGHTTP2_CANCEL]: status.CANCELLED,
};

const PACKETS = "/TelemetryIngest/StreamPackets", HEALTH = "/grpc.health.v1.Health";

/** Makes a call, whose body is `parts`; left open when `end` is false. */
async function call(
  target: TestTarget,
  headers: Record<string, string>,
  parts: readonly Uint8Array[] = [],
  end = true,
): Promise<Outcome & { data: Uint8Array; headers: Record<string, unknown> }> {
  const session = openSession(target);
  const stream = session.request({
    ":method": "POST",
    ":path": PACKETS,
    "content-type": "application/grpc",
    te: "trailers",
    ...headers,
  }, { endStream: false });
  let response: Record<string, unknown> | undefined, trailers: Record<string, unknown> = {};
  const data: Uint8Array[] = [];
  stream.on("response", (fields) => response = trailers = { ...fields });
  stream.on("trailers", (fields) => {
    trailers = { ...fields };
    stream.end();
  });
  stream.on("data", (chunk: Uint8Array) => data.push(chunk));
  stream.on("error", () => {});
  if (end) stream.end(Buffer.concat(parts));
  else stream.write(Buffer.concat(parts));
  stream.on("end", () => stream.end());
  await new Promise((resolve) => stream.on("close", resolve));
  session.close();
  const body = new Uint8Array(Buffer.concat(data));
  const grpc = trailers["grpc-status"];
  return {
    http: response?.[":status"] as number | undefined,
    grpc: grpc !== undefined
      ? Number(grpc)
      : response === undefined
      ? resetStatuses[stream.rstCode]
      : undefined,
    message: trailers["grpc-message"] as string | undefined,
    stored: grpc === "0" && body.length > 5 && (headers[":path"] ?? PACKETS) === PACKETS
      ? streamPackets.responseDeserialize(Buffer.from(body.subarray(5))).stored
      : undefined,
    data: body,
    headers: response ?? {},
  };
}

const message = framedPacket(packet());
const bytes = streamPackets.requestSerialize(packet());
const compressed = (by: (bytes: Uint8Array) => Uint8Array) => framed(new Uint8Array(by(bytes)), true);

type Rule = readonly [
  title: string,
  expected: Outcome,
  headers: Record<string, string>,
  parts?: readonly Uint8Array[],
];

const rules: readonly Rule[] = [
  ["a packet", { http: 200, grpc: status.OK, stored: 1 }, {}, [message]],
  ["no message", { http: 200, grpc: status.OK, stored: 0 }, {}],
  ["content-type application/grpc+proto", { http: 200, grpc: status.OK, stored: 1 }, {
    "content-type": "application/grpc+proto",
  }, [message]],
  ["content-type with parameters", { http: 200, grpc: status.OK, stored: 1 }, {
    "content-type": "application/grpc;charset=utf-8",
  }, [message]],
  ["content-type application/json", { http: 415 }, { "content-type": "application/json" }, [message]],
  ["content-type application/grpc-web", { http: 415 }, { "content-type": "application/grpc-web" }, [message]],
  ["GET", { http: 405 }, { ":method": "GET" }],
  ["PUT", { http: 405 }, { ":method": "PUT" }, [message]],
  ["a service that is not there", { http: 200, grpc: status.UNIMPLEMENTED }, {
    ":path": "/no.such.Service/Method",
  }],
  ["a method that is not there", { http: 200, grpc: status.UNIMPLEMENTED }, {
    ":path": "/TelemetryIngest/Nothing",
  }],
  ["an unknown path that is not ASCII", { http: 200, grpc: status.UNIMPLEMENTED }, {
    ":path": "/Ünknown/%41",
  }],
  ["the other name of the service", { http: 200, grpc: status.OK }, {
    ":path": "/app.telemetry.TelemetryIngest/StreamPackets",
  }, [message]],
  ["grpc-timeout far enough", { http: 200, grpc: status.OK, stored: 1 }, { "grpc-timeout": "20S" }, [
    message,
  ]],
  ["grpc-timeout beyond what a timer can wait", { http: 200, grpc: status.OK, stored: 1 }, {
    "grpc-timeout": "99999999H",
  }, [message]],
  ...["", "S", "10", "-1S", "10x", "1.5S", "123456789S", "10S "].map((timeout) =>
    [
      `grpc-timeout ${JSON.stringify(timeout)}`,
      {
        http: timeout === "10S " ? undefined : 200,
        grpc: status.INTERNAL,
      },
      { "grpc-timeout": timeout },
      [message],
    ] as const
  ),
  ["grpc-encoding identity", { http: 200, grpc: status.OK, stored: 1 }, { "grpc-encoding": "identity" }, [
    message,
  ]],
  ["grpc-encoding gzip", { http: 200, grpc: status.OK, stored: 2 }, { "grpc-encoding": "gzip" }, [
    compressed(gzipSync),
    message,
  ]],
  ["grpc-encoding deflate", { http: 200, grpc: status.OK, stored: 1 }, { "grpc-encoding": "deflate" }, [
    compressed(deflateSync),
  ]],
  ["grpc-encoding that is not served", { http: 200, grpc: status.UNIMPLEMENTED }, {
    "grpc-encoding": "snappy",
  }, [
    message,
  ]],
  ["a compressed message without grpc-encoding", { http: 200, grpc: status.INTERNAL }, {}, [
    compressed(gzipSync),
  ]],
  ["a message that does not inflate", { http: 200, grpc: status.INTERNAL }, { "grpc-encoding": "gzip" }, [
    framed(new Uint8Array([1, 2, 3]), true),
  ]],
  ["a message that inflates above the limit", { http: 200, grpc: status.RESOURCE_EXHAUSTED }, {
    "grpc-encoding": "gzip",
  }, [framed(new Uint8Array(gzipSync(new Uint8Array(5 * 2 ** 20))), true)]],
  ["a message above the limit", { http: 200, grpc: status.RESOURCE_EXHAUSTED }, {}, [
    new Uint8Array([0, 0, 80, 0, 0, 1, 2, 3]),
  ]],
  ["a message that is not protobuf", { http: 200, grpc: status.INVALID_ARGUMENT }, {}, [
    framed(new Uint8Array([255])),
  ]],
  ["telemetry-offset without telemetry-session", { http: 200, grpc: status.INVALID_ARGUMENT }, {
    "telemetry-offset": "1",
  }, [message]],
  ["a session with a space", { http: 200, grpc: status.INVALID_ARGUMENT }, { "telemetry-session": "a b" }, [
    message,
  ]],
  ["health: Check", { http: 200, grpc: status.OK }, { ":path": `${HEALTH}/Check` }, [
    framed(new Uint8Array(0)),
  ]],
  ["health: Check of an unknown service", { http: 200, grpc: status.NOT_FOUND }, {
    ":path": `${HEALTH}/Check`,
  }, [
    framed(new Uint8Array([10, 2, 120, 120])),
  ]],
  ["health: List", { http: 200, grpc: status.OK }, { ":path": `${HEALTH}/List` }, [
    framed(new Uint8Array(0)),
  ]],
  ["health: Check, compressed", { http: 200, grpc: status.OK }, {
    ":path": `${HEALTH}/Check`,
    "grpc-encoding": "gzip",
  }, [framed(new Uint8Array(gzipSync(new Uint8Array(0))), true)]],
  ["health: a message of more than any service's name", { http: 200, grpc: status.RESOURCE_EXHAUSTED }, {
    ":path": `${HEALTH}/Check`,
  }, [framed(new Uint8Array(5000))]],
  ["health: a message that inflates to much more", { http: 200, grpc: status.RESOURCE_EXHAUSTED }, {
    ":path": `${HEALTH}/Check`,
    "grpc-encoding": "gzip",
  }, [framed(new Uint8Array(gzipSync(new Uint8Array(2 ** 20))), true)]],
];

for (const variant of variants) {
  const { title, fastPath } = variant;
  Deno.test(`TelemetryServer, gRPC semantics, ${title}`, async (t) => {
    await using served = await startVariant(variant);
    const { target } = served;
    for (const [title, expected, headers, parts] of rules) {
      await t.step(title, async () => {
        const { http, grpc, stored } = await call(target, headers, parts);
        assertEquals({ http, grpc, stored: expected.stored === undefined ? undefined : stored }, {
          http: expected.http,
          grpc: expected.grpc,
          stored: expected.stored,
        });
      });
    }
    await t.step("a refused encoding: grpc-accept-encoding lists the accepted ones", async () => {
      const { headers } = await call(target, { "grpc-encoding": "snappy" }, [message]);
      assertEquals(headers["grpc-accept-encoding"], "identity,deflate,gzip");
    });
    await t.step("health: List returns every service", async () => {
      const { data } = await call(target, { ":path": `${HEALTH}/List` }, [framed(new Uint8Array(0))]);
      const text = new TextDecoder().decode(data);
      assert(text.includes("TelemetryIngest") && text.includes("app.telemetry.TelemetryIngest"));
    });
    await t.step("405 has allow: POST, and both refusals have a line of text", async () => {
      const get = await call(target, { ":method": "GET" });
      assertEquals([get.headers["allow"], new TextDecoder().decode(get.data)], [
        "POST",
        "This port serves gRPC: use POST.\n",
      ]);
    });
    await t.step("a deadline that passes ends an open call", async () => {
      const { grpc } = await call(target, { "grpc-timeout": "50m" }, [message], false);
      assertEquals(grpc, status.DEADLINE_EXCEEDED);
    });
    await t.step(
      "a deadline that passes while the store is away ends the call; what it sent is stored",
      async () => {
        await using real = await temporaryStore();
        const { store, gate } = gated(real);
        await using held = await startTestIngest({ store, fastPath });
        using _opened = gate;
        gate.hold();
        const { grpc } = await call(held.port, { "grpc-timeout": "50m" }, [message]);
        assertEquals(grpc, status.DEADLINE_EXCEEDED);
        gate.open();
        await until(() => held.counters.stored === 1, "the packet is stored");
      },
    );
    await t.step("StreamBatches: Acks are sent as packets are stored", async () => {
      const batch = framed(streamBatches.requestSerialize({ packets: [packet()] }));
      const { grpc, data } = await call(target, { ":path": "/TelemetryIngest/StreamBatches" }, [
        batch,
        batch,
      ]);
      assertEquals([grpc, data.length > 5], [status.OK, true]);
    });
  });
}
