/**
 * `proto/telemetry.proto` as grpc-js wants it: the service's methods, with functions that make and read
 * their messages.
 *
 * @module
 */
import { fileURLToPath } from "node:url";

import { loadSync, type MethodDefinition, type ServiceDefinition } from "@grpc/proto-loader";

/** Whole numbers are `number`s, enums their numbers, absent fields have their defaults, names are the proto's. */
const definitions = loadSync(fileURLToPath(new URL("../../proto/telemetry.proto", import.meta.url)), {
  keepCase: true,
  longs: Number,
  defaults: true,
});

/** A packet as a device makes it. */
export interface Packet {
  /** Who says it: 1 to 128 bytes of UTF-8 without control characters. */
  readonly device_id: string;
  /** Unix time in s, ms, µs or ns, told apart by magnitude; 0: now, by Tally's clock. */
  readonly timestamp: number;
  /** What: any bytes, 64 KiB at most unless the operator set another limit. */
  readonly payload: Uint8Array;
}

/** What became of a stream's packets so far; see the proto. */
export interface Ack {
  /** True. */
  readonly ok: boolean;
  /** Packets counted by this stream. */
  readonly stored: number;
  /** Packets the session had already. */
  readonly duplicates: number;
  /** Packets refused. */
  readonly rejected: number;
  /** Index of the first packet that is not settled. */
  readonly committed: number;
  /** Refused packets by `RejectReason`. */
  readonly rejections: readonly { readonly reason: number; readonly packets: number }[];
}

const service = definitions["TelemetryIngest"] as ServiceDefinition;

/** `rpc StreamPackets(stream Packet) returns (Ack)` */
export const streamPackets = service["StreamPackets"] as MethodDefinition<Packet, Ack>;

/** `rpc StreamBatches(stream PacketBatch) returns (stream Ack)` */
export const streamBatches = service["StreamBatches"] as MethodDefinition<
  { packets: readonly Packet[] },
  Ack
>;

/**
 * The service answers under the name of the proto, and under the one its messages have in a client that
 * was generated with `package app.telemetry`, as the reference system's document suggests.
 */
export const SERVICE_NAMES = ["TelemetryIngest", "app.telemetry.TelemetryIngest"] as const;

/** Names of the metadata entries that make a stream part of a session; see the proto. */
export const SESSION_KEY = "telemetry-session";
/** See the proto. */
export const OFFSET_KEY = "telemetry-offset";
/** See the proto. */
export const COMMITTED_KEY = "telemetry-committed";
/** See the proto. */
export const MAX_MESSAGE_KEY = "telemetry-max-message";
