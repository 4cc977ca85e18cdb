/**
 * The service of `proto/telemetry.proto` as grpc-js takes it.
 *
 * @module
 */
import telemetryProto from "../../proto/telemetry.proto" with { type: "text" };
import type { Ack, Packet } from "./messages.ts";
import { type MethodDefinition, serviceDefinition } from "./service_definition.ts";

/**
 * The service answers under the name of the proto, and under the one its messages have in a client that
 * was generated with `package app.telemetry`, as the reference system's document suggests.
 */
export const SERVICE_NAMES = ["TelemetryIngest", "app.telemetry.TelemetryIngest"] as const;

const service = serviceDefinition(telemetryProto, SERVICE_NAMES[0]);

/** `rpc StreamPackets(stream Packet) returns (Ack)` */
export const streamPackets = service["StreamPackets"] as MethodDefinition<Packet, Ack>;

/** `rpc StreamBatches(stream PacketBatch) returns (stream Ack)` */
export const streamBatches = service["StreamBatches"] as MethodDefinition<
  { packets: readonly Packet[] },
  Ack
>;
