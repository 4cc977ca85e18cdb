import { assert, assertEquals, assertThrows } from "@std/assert";
import protobuf from "protobufjs";

import { MalformedMessage, readBatch, unixMilliseconds } from "../../src/protocol/packet.ts";
import { streamBatches, streamPackets } from "../../src/protocol/telemetry_proto.ts";
import { forSeeds } from "../support/random.ts";
import {
  latin1,
  outcome,
  randomPacket,
  randomUnknownField,
  read,
  type ReadPacket,
  readWithProtobufjs,
} from "../ingest/packet_model.ts";

Deno.test("readPacket() equals protobufjs, unknown fields and wire types included", () =>
  forSeeds(3000, (random) => {
    const parts: Uint8Array[] = [];
    const fields = random.int(0, 4);
    for (let i = 0; i < fields; i++) {
      parts.push(
        random.chance(0.5)
          ? streamPackets.requestSerialize(randomPacket(random))
          : randomUnknownField(random).finish(),
      );
    }
    const bytes = new Uint8Array(Buffer.concat(parts));
    assertEquals(read(bytes), readWithProtobufjs(bytes));
  }));

Deno.test("readPacket() equals protobufjs for mutated packets, or both refuse them", () => {
  let accepted = 0, refused = 0;
  return forSeeds(20_000, (random) => {
    const bytes = new Uint8Array(streamPackets.requestSerialize(randomPacket(random)));
    const mutations = random.int(1, 3);
    for (let i = 0; i < mutations && bytes.length > 0; i++) {
      bytes[random.int(0, bytes.length - 1)] = random.int(0, 255);
    }
    const cut = random.chance(0.3) ? bytes.slice(0, random.int(0, bytes.length)) : bytes;
    const ours = outcome(() => read(cut)), theirs = outcome(() => readWithProtobufjs(cut));
    if (ours === "malformed") refused++;
    else accepted++;
    // protobufjs is laxer: it accepts tags beyond 32 bits, varints of any last byte and unmatched groups.
    if (ours !== "malformed") assertEquals(ours, theirs);
  }).then(() => assert(accepted > 1000 && refused > 1000, `${accepted} accepted, ${refused} refused`));
});

Deno.test("readBatch() yields packets in order, with any fields between them", () =>
  forSeeds(500, (random) => {
    const packets = Array.from({ length: random.int(0, 20) }, () => randomPacket(random));
    const parts: Uint8Array[] = [];
    for (const packet of packets) {
      if (random.chance(0.2)) {
        parts.push(protobuf.Writer.create().uint32(7 << 3 | 2).bytes(random.bytes(3)).finish());
      }
      parts.push(streamBatches.requestSerialize({ packets: [packet] }));
    }
    const bytes = new Uint8Array(Buffer.concat(parts));
    const found: ReadPacket[] = [];
    readBatch(bytes, 0, bytes.length, (start, end) => found.push(read(bytes, start, end)));
    assertEquals(
      found,
      packets.map(({ device_id, timestamp, payload }) => ({
        deviceId: device_id,
        timestamp,
        payload: latin1(payload),
      })),
    );
  }));

Deno.test("readPacket() reads only within start and end", () => {
  const bytes = streamPackets.requestSerialize({
    device_id: "a",
    timestamp: 5,
    payload: new Uint8Array([1, 2]),
  });
  const around = new Uint8Array(
    Buffer.concat([new Uint8Array(7).fill(0xff), bytes, new Uint8Array(9).fill(0xff)]),
  );
  assertEquals(read(around, 7, 7 + bytes.length), { deviceId: "a", timestamp: 5, payload: "\x01\x02" });
});

Deno.test("readPacket() accepts tags with redundant bytes", () => {
  assertEquals(read(new Uint8Array([0x8a, 0x80, 0x00, 1, 97])).deviceId, "a");
});

for (
  const [what, bytes] of [
    ["a length beyond the message", [0x0a, 5, 97]],
    ["a length of five bytes beyond the message", [0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]],
    ["a negative length", [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]],
    ["a tag without a value", [0x10]],
    ["a number of eleven bytes", [0x10, ...new Array(10).fill(0xff), 0x01]],
    ["an endless tag", new Array(12).fill(0xff)],
    ["field number 0", [0x00, 0x01]],
    ["wire type 6", [0x26]],
    ["wire type 7", [0x27]],
    ["a group that does not end", [0x23, 0x28, 0x01]],
    ["a group that ends as another", [0x23, 0x2c]],
    ["the end of a group that did not begin", [0x24]],
    ["groups nested 101 deep", [...new Array(101).fill(0x23), ...new Array(101).fill(0x24)]],
  ] as const
) {
  Deno.test(`readPacket() refuses a packet with ${what}`, () => {
    assertThrows(() => read(new Uint8Array(bytes)), MalformedMessage);
  });
}

Deno.test("unixMilliseconds() infers the unit of a timestamp from its magnitude", () => {
  const moment = 1_763_840_000_123;
  assertEquals(unixMilliseconds(1_763_840_000), 1_763_840_000_000);
  assertEquals(unixMilliseconds(moment), moment);
  assertEquals(unixMilliseconds(moment * 1e3 + 456), moment);
  assertEquals(unixMilliseconds(moment * 1e6), moment);
});
