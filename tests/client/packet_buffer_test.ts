import { assert, assertEquals, assertThrows } from "@std/assert";
import protobuf from "protobufjs";

import { EncodedPacket } from "../../src/client/encoded_packet.ts";
import { Omission, omittedPackets, overlap, PacketBuffer } from "../../src/client/packet_buffer.ts";
import type { Packet } from "../../src/protocol/messages.ts";
import { forSeeds, type Random } from "../support/random.ts";

const proto = await protobuf.load(new URL("../../proto/telemetry.proto", import.meta.url).pathname);
const batchType = proto.lookupType("PacketBatch");

/** What protobufjs reads out of a batch. */
function decoded(bytes: Uint8Array): Packet[] {
  const batch = batchType.toObject(batchType.decode(bytes), { longs: Number, defaults: true, arrays: true });
  return batch["packets"].map((packet: Omit<Packet, "device_id"> & { deviceId: string }) => ({
    device_id: packet.deviceId,
    timestamp: packet.timestamp,
    payload: new Uint8Array(packet.payload),
  }));
}

function randomPacket(random: Random): Packet {
  const size = random.pick([0, 1, 20, 127, 128, 300, random.chance(0.05) ? 70_000 : 5]);
  const scale = 2 ** random.int(0, 52);
  return {
    device_id: random.pick(["", "d", "gerät-7", "度".repeat(50), "x".repeat(random.int(1, 600)), "😀"]),
    timestamp: random.pick([0, -1, -scale, scale, scale - 1, 2 ** 53 - 1, 1_753_600_000]),
    payload: random.bytes(size),
  };
}

function add(buffer: PacketBuffer, packet: Packet): void {
  const encoded = new EncodedPacket();
  encoded.set(packet);
  buffer.add(encoded);
}

function settleAndDiscard(buffer: PacketBuffer, index: number): void {
  buffer.settle(index);
  buffer.discard(index, 0);
}

Deno.test("Cursor.take() returns the packets added, as protobufjs decodes them, for any calls of take() and forget()", () =>
  forSeeds(60, (random) => {
    const first = random.int(0, 1000);
    const buffer = new PacketBuffer(first);
    const packets: Packet[] = [];
    const at = (index: number) => packets[index - first]!;
    // As a client has them: what was saved, what was sent of it, what was settled of that.
    let saved = buffer.cursor(), sent = buffer.cursor();
    for (let step = 0; step < 400; step++) {
      const action = random.int(0, 9);
      if (action < 5) {
        packets.push(randomPacket(random));
        add(buffer, packets.at(-1)!);
      } else if (action < 9) {
        const [cursor, limit] = action < 7 ? [saved, undefined] : [sent, saved];
        const from = cursor.index;
        const maxBytes = random.chance(0.5) ? Infinity : random.pick([1, 50, 1000, 100_000]);
        const bytes = cursor.take(limit, maxBytes);
        if (bytes === undefined) assertEquals(from, limit?.index ?? buffer.end);
        else {
          const taken = decoded(bytes);
          assertEquals(taken, taken.map((_, offset) => at(from + offset)));
          assertEquals(cursor.index, from + taken.length);
          assert(cursor.index <= (limit?.index ?? buffer.end));
          assert(bytes.length <= Math.min(64 * 1024, maxBytes) || taken.length === 1);
        }
      } else {
        settleAndDiscard(buffer, random.int(first, sent.index));
        if (random.chance(0.2)) sent = buffer.cursor(); // a new call
        if (random.chance(0.1)) saved = buffer.cursor().copy(), sent = buffer.cursor();
      }
      assertEquals(buffer.end, first + packets.length);
      assertEquals(buffer.packets, buffer.end - buffer.start);
      const kept = buffer.cursor();
      let keptBytes = 0;
      for (let bytes = kept.take(); bytes !== undefined; bytes = kept.take()) keptBytes += bytes.length;
      assertEquals(buffer.bytes, keptBytes);
    }
  }));

Deno.test("PacketBuffer.reopen() makes kept packets pending again, for any calls of settle(), discard() and reopen()", () =>
  forSeeds(20, (random) => {
    const first = random.int(0, 1000);
    const buffer = new PacketBuffer(first);
    const packets: Packet[] = [];
    let oldest = first, start = first;
    const bytesOf = (from: number, to: number) =>
      packets.slice(from - first, to - first).reduce((sum, packet) => {
        const encoded = new EncodedPacket();
        encoded.set(packet);
        return sum + encoded.size;
      }, 0);
    for (let step = 0; step < 120; step++) {
      const action = random.int(0, 9);
      if (action < 5) {
        packets.push(randomPacket(random));
        add(buffer, packets.at(-1)!);
      } else if (action < 7) {
        const index = random.int(first, buffer.end);
        buffer.settle(index);
        start = Math.max(start, index);
      } else if (action < 8) {
        const index = random.int(first, buffer.end), maxBytes = random.pick([0, 500, 5000, 1_000_000]);
        buffer.discard(index, maxBytes);
        oldest = Math.max(oldest, Math.min(index, start));
        while (bytesOf(oldest, start) > maxBytes) oldest++;
        if (maxBytes === 0) oldest = start;
      } else {
        const index = random.int(oldest, buffer.end);
        assertEquals(buffer.reopen(index), Math.max(0, start - index));
        start = Math.min(start, index);
      }
      assertEquals([buffer.oldest, buffer.start, buffer.end], [oldest, start, first + packets.length]);
      assertEquals([buffer.keptBytes, buffer.bytes], [bytesOf(oldest, start), bytesOf(start, buffer.end)]);
      for (const [cursor, from] of [[buffer.cursor(), start], [buffer.keptCursor(), oldest]] as const) {
        const read = [];
        for (let bytes = cursor.take(); bytes !== undefined; bytes = cursor.take()) {
          read.push(...decoded(bytes));
        }
        assertEquals(read, packets.slice(from - first));
      }
    }
  }));

Deno.test("PacketBuffer: batches taken from one buffer can be added to another", () =>
  forSeeds(20, (random) => {
    const packets = Array.from({ length: random.int(0, 300) }, () => randomPacket(random));
    const buffer = new PacketBuffer();
    const copy = new PacketBuffer();
    for (const packet of packets) add(buffer, packet);
    const cursor = buffer.cursor(), copied = copy.cursor();
    for (let bytes = cursor.take(); bytes !== undefined; bytes = cursor.take()) copy.addBatch(bytes);
    assertEquals([copy.end, copy.bytes], [buffer.end, buffer.bytes]);
    const read = [];
    for (let bytes = copied.take(); bytes !== undefined; bytes = copied.take()) read.push(...decoded(bytes));
    assertEquals(read, packets);
  }));

Deno.test("PacketBuffer refuses bytes that are not packets", () => {
  for (const bytes of [[10], [10, 5, 1], [18, 0], [10, 0, 10], [10, 0x80]]) {
    assertThrows(() => new PacketBuffer().addBatch(new Uint8Array(bytes)), RangeError);
  }
});

Deno.test("PacketBuffer.omitted has the packets that were replaced, until forget()", () => {
  const buffer = new PacketBuffer(10);
  add(buffer, { device_id: "a", timestamp: 0, payload: new Uint8Array(0) });
  buffer.addBatch(omittedPackets(3, Omission.DAMAGED_IN_FILE));
  buffer.addBatch(omittedPackets(2, Omission.DAMAGED_IN_FILE));
  add(buffer, { device_id: "b", timestamp: 0, payload: new Uint8Array(0) });
  buffer.addBatch(omittedPackets(1, Omission.MESSAGE_TOO_LARGE));
  const reason = Omission.DAMAGED_IN_FILE;
  const large = { from: 17, to: 18, reason: Omission.MESSAGE_TOO_LARGE };
  assertEquals(buffer.omitted, [{ from: 11, to: 16, reason }, large]);
  assertEquals(decoded(buffer.cursor().take()!).map(({ device_id }) => device_id), [
    ..."a|||||".split("|"),
    "b",
    "",
  ]);
  settleAndDiscard(buffer, 13);
  assertEquals(buffer.omitted, [{ from: 13, to: 16, reason }, large]);
  assertEquals(overlap(buffer.omitted, 14, 17), [{ from: 14, to: 16, reason }]);
  settleAndDiscard(buffer, 17);
  assertEquals(buffer.omitted, [large]);
});
