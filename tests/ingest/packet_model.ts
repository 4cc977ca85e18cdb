/**
 * Packets by protobufjs, to compare with.
 *
 * @module
 */
import protobuf from "protobufjs";

import { PacketView, readPacket } from "../../src/protocol/packet.ts";
import type { Packet } from "../../src/protocol/messages.ts";
import type { Random } from "../support/random.ts";

/** A packet as it was read. */
export interface ReadPacket {
  deviceId: string;
  timestamp: number;
  payload: string;
}

/** A character for each byte. */
export const latin1 = (bytes: Uint8Array) => String.fromCharCode(...bytes);

/** What is tested. */
export function read(bytes: Uint8Array, start = 0, end = bytes.length): ReadPacket {
  const view = new PacketView();
  readPacket(bytes, start, end, view);
  return {
    deviceId: latin1(bytes.subarray(view.deviceIdStart, view.deviceIdEnd)),
    timestamp: view.timestamp,
    payload: latin1(bytes.subarray(view.payloadStart, view.payloadEnd)),
  };
}

/** What protobufjs reads, its strict way: a field of the wrong wire type is not that field. */
export function readWithProtobufjs(bytes: Uint8Array): ReadPacket {
  const reader = protobuf.Reader.create(bytes);
  const packet = { deviceId: "", timestamp: 0, payload: "" };
  while (reader.pos < reader.len) {
    // Not `uint32()`, which reads a number of six to nine bytes as one of ten.
    const tag = Number(reader.uint64());
    if (tag < 8 || tag > 0xffff_ffff) throw new Error(`${tag} is no tag`);
    if (tag === 10) packet.deviceId = latin1(reader.bytes());
    else if (tag === 16) packet.timestamp = Number(reader.int64());
    else if (tag === 26) packet.payload = latin1(reader.bytes());
    else reader.skipType(tag & 7);
  }
  return packet;
}

/** What `body` returns; an error of any kind is `malformed`. */
export function outcome<T>(body: () => T): { value: T } | "malformed" {
  try {
    return { value: body() };
  } catch {
    return "malformed";
  }
}

/** A packet to serialize. */
export function randomPacket(random: Random): Packet {
  return {
    device_id: latin1(random.bytes(random.int(0, 20)).map((byte) => byte & 127)),
    timestamp: random.pick([0, 1, -1, 127, 128, 1_700_000_000, 1_700_000_000_000, 2 ** 53 - 1, -(2 ** 40)]),
    payload: random.bytes(random.pick([0, 1, 5, 127, 128, 300])),
  };
}

/** A field that is not of the proto, or is of it with another wire type. */
export function randomUnknownField(
  random: Random,
  writer = protobuf.Writer.create(),
  depth = 0,
): protobuf.Writer {
  const number = random.pick([1, 2, 3, 4, 15, 16, 100, 536_870_911]);
  const kinds = ["varint", "fixed64", "fixed32", "group", "bytes"] as const;
  const kind = random.pick(
    kinds.filter((kind) => number > 3 || (kind !== "bytes" && (kind !== "varint" || number !== 2))),
  );
  if (kind === "varint") writer.uint32((number << 3 | 0) >>> 0).uint64(random.int(0, 2 ** 40));
  else if (kind === "fixed64") writer.uint32((number << 3 | 1) >>> 0).fixed64(random.int(0, 2 ** 40));
  else if (kind === "fixed32") writer.uint32((number << 3 | 5) >>> 0).fixed32(random.int(0, 2 ** 31));
  else if (kind === "bytes") writer.uint32((number << 3 | 2) >>> 0).bytes(random.bytes(random.int(0, 9)));
  else {
    writer.uint32((number << 3 | 3) >>> 0);
    while (depth < 5 && random.chance(0.4)) randomUnknownField(random, writer, depth + 1);
    writer.uint32((number << 3 | 4) >>> 0);
  }
  return writer;
}
