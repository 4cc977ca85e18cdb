import { fileURLToPath } from "node:url";

import { loadSync, type ServiceDefinition } from "@grpc/proto-loader";
import { assertEquals, assertThrows } from "@std/assert";

import { healthService } from "../../src/protocol/health_proto.ts";
import type { Packet } from "../../src/protocol/messages.ts";
import { type MethodDefinition, serviceDefinition } from "../../src/protocol/service_definition.ts";
import { streamBatches, streamPackets } from "../../src/protocol/telemetry_proto.ts";
import { randomPacket } from "../ingest/packet_model.ts";
import { seededRandom } from "../support/random.ts";

/** What proto-loader, which reads the file, makes of a service. */
function loaded(file: string, service: string): ServiceDefinition {
  const path = fileURLToPath(new URL(`../../proto/${file}`, import.meta.url));
  return loadSync(path, { keepCase: true, longs: Number, defaults: true })[service] as ServiceDefinition;
}

const telemetry = loaded("telemetry.proto", "TelemetryIngest");
const health = loaded("health.proto", "grpc.health.v1.Health");

Deno.test("serviceDefinition() has the methods, paths and kinds of calls of proto-loader", () => {
  type Kind = Pick<MethodDefinition<never, unknown>, "path" | "requestStream" | "responseStream">;
  const kinds = (service: Readonly<Record<string, Kind>>) =>
    Object.entries(service).map(([name, method]) => {
      return [name, method.path, method.requestStream, method.responseStream];
    });
  assertEquals(kinds({ StreamPackets: streamPackets, StreamBatches: streamBatches }), kinds(telemetry));
  assertEquals(kinds(healthService), kinds(health));
});

Deno.test("serviceDefinition() writes and reads messages as proto-loader does", () => {
  const random = seededRandom(13);
  for (let round = 0; round < 200; round++) {
    const packets = Array.from({ length: random.int(0, 4) }, () => ({
      device_id: random.pick(["", "sensor-1", "é🚚", "x".repeat(200)]),
      timestamp: random.pick([0, -1, 1_700_000_000_000, 2 ** 53 - 1, -(2 ** 53) + 1]),
      payload: random.bytes(random.pick([0, 1, 300])),
    }));
    const batch = streamBatches.requestSerialize({ packets });
    assertEquals(batch, telemetry["StreamBatches"]!.requestSerialize({ packets }));
    assertEquals(
      streamBatches.requestDeserialize(batch),
      telemetry["StreamBatches"]!.requestDeserialize(batch) as { packets: Packet[] },
    );
    for (const bytes of [batch, streamPackets.requestSerialize(randomPacket(random))]) {
      const outcome = (read: (bytes: Buffer) => unknown) => {
        try {
          return read(bytes);
        } catch (error) {
          return String(error);
        }
      };
      assertEquals(
        outcome(streamPackets.responseDeserialize),
        outcome(telemetry["StreamPackets"]!.responseDeserialize),
      );
    }
  }
});

Deno.test("serviceDefinition() reads absent fields as their defaults, 64-bit numbers and enums as numbers", () => {
  assertEquals(
    streamPackets.responseDeserialize(Buffer.alloc(0)),
    { ok: false, stored: 0, duplicates: 0, rejected: 0, committed: 0, rejections: [] },
  );
  const ack = {
    ...{ ok: true, stored: 2 ** 53 - 1, duplicates: 2, rejected: 3, committed: 4 },
    rejections: [{ reason: 7, packets: 3 }],
  };
  assertEquals(streamBatches.responseDeserialize(streamBatches.responseSerialize(ack)), ack);
});

Deno.test("serviceDefinition() throws for a service that the proto does not declare", () => {
  assertThrows(() => serviceDefinition('syntax = "proto3"; message Packet {}', "TelemetryIngest"));
});
