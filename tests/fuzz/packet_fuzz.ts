/**
 * Packets and batches: whole, mutated and random, read as protobufjs reads them.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import { MalformedMessage, readBatch } from "../../src/protocol/packet.ts";
import { streamBatches, streamPackets } from "../../src/protocol/telemetry_proto.ts";
import {
  outcome,
  randomPacket,
  randomUnknownField,
  read,
  readWithProtobufjs,
} from "../ingest/packet_model.ts";
import type { Random } from "../support/random.ts";
import type { FuzzTarget } from "./fuzz_run.ts";

function fuzzPacket(random: Random): void {
  const bytes = randomMessage(random), around = random.int(0, 9);
  // Bytes before and after are none of the message's.
  const padded = new Uint8Array(Buffer.concat([random.bytes(around), bytes, random.bytes(around)]));
  const ours = onlyMalformed(() => read(padded, around, around + bytes.length));
  const theirs = outcome(() => readWithProtobufjs(bytes));
  // protobufjs is laxer: see `packet_test.ts`.
  if (ours !== "malformed" && JSON.stringify(ours) !== JSON.stringify(theirs)) {
    throw new Error(`read as ${JSON.stringify(ours)}, protobufjs: ${JSON.stringify(theirs)}: ${hex(bytes)}`);
  }
  fuzzBatch(random);
}

/** Whatever a batch is, the packets found lie in it, one after the other. */
function fuzzBatch(random: Random): void {
  const packets = Array.from({ length: random.int(0, 5) }, () => randomPacket(random));
  const bytes = mutated(random, new Uint8Array(streamBatches.requestSerialize({ packets })));
  let last = 0;
  onlyMalformed(() =>
    readBatch(bytes, 0, bytes.length, (start, end) => {
      if (start < last || end < start || end > bytes.length) {
        throw new Error(`a packet from ${start} to ${end} after byte ${last}: ${hex(bytes)}`);
      }
      last = end;
      onlyMalformed(() => read(bytes, start, end));
    })
  );
}

function onlyMalformed<T>(body: () => T): { value: T } | "malformed" {
  try {
    return { value: body() };
  } catch (error) {
    if (error instanceof MalformedMessage) return "malformed";
    throw error;
  }
}

function randomMessage(random: Random): Uint8Array {
  if (random.chance(0.1)) return random.bytes(random.int(0, 40));
  const parts = Array.from(
    { length: random.int(0, 3) },
    () =>
      random.chance(0.6)
        ? streamPackets.requestSerialize(randomPacket(random))
        : randomUnknownField(random).finish(),
  );
  return mutated(random, new Uint8Array(Buffer.concat(parts)));
}

function mutated(random: Random, bytes: Uint8Array): Uint8Array {
  if (random.chance(0.3)) return bytes;
  const cut = random.chance(0.2) ? bytes.slice(0, random.int(0, bytes.length)) : bytes.slice();
  for (let i = random.int(0, 3); i > 0 && cut.length > 0; i--) {
    cut[random.int(0, cut.length - 1)] = random.pick([0, 127, 128, 255, random.int(0, 255)]);
  }
  return cut;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

/** See the module. */
export const packetFuzz: FuzzTarget = { name: "packets", run: fuzzPacket };
