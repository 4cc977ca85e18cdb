import { assertEquals } from "@std/assert";

import { Outgoing } from "../../src/client/outgoing.ts";
import { EncodedPacket } from "../../src/client/encoded_packet.ts";
import { Omission, omittedPackets, PacketBuffer } from "../../src/client/packet_buffer.ts";

/** A buffer of packets of 20 bytes each, and of one packet of 1,000 bytes for each index in `large`. */
function bufferOf(packets: number, large: readonly number[] = []): PacketBuffer {
  const buffer = new PacketBuffer();
  const encoded = new EncodedPacket();
  for (let index = 0; index < packets; index++) {
    const payload = new Uint8Array(large.includes(index) ? 1000 - 11 : 20 - 9);
    encoded.set({ device_id: "d", timestamp: 1, payload });
    buffer.add(encoded);
  }
  return buffer;
}

/** The lengths of the messages of one call. */
function messages(outgoing: Outgoing): number[] {
  const lengths = [];
  for (let bytes; (bytes = outgoing.next(undefined)) !== undefined;) lengths.push(bytes.length);
  return lengths;
}

Deno.test("Outgoing.refused() halves the message size; each call that is not refused doubles it again", () => {
  const outgoing = new Outgoing(bufferOf(8));
  outgoing.refused(); // nothing was written that could have been too large
  outgoing.restart(Infinity);
  assertEquals(messages(outgoing), [160]);
  outgoing.refused();
  outgoing.restart(Infinity);
  assertEquals(messages(outgoing), [80, 80]);
  outgoing.refused();
  outgoing.restart(Infinity);
  assertEquals(messages(outgoing), [40, 40, 40, 40]);
  outgoing.refused();
  for (const expected of [20, 40, 80, 160]) {
    outgoing.restart(Infinity);
    assertEquals(messages(outgoing), Array(160 / expected).fill(expected));
  }
  for (let refusal = 0; refusal < 10; refusal++) {
    outgoing.next(undefined);
    outgoing.refused();
    outgoing.restart(Infinity);
  }
  assertEquals(messages(outgoing), Array(8).fill(20)); // one packet is the least
});

Deno.test("Outgoing.refused() halves the size written on this call, not on an earlier one", () => {
  const outgoing = new Outgoing(bufferOf(8));
  outgoing.restart(Infinity);
  messages(outgoing);
  outgoing.restart(Infinity);
  outgoing.refused();
  outgoing.restart(Infinity);
  assertEquals(messages(outgoing), [160]);
});

Deno.test("Outgoing.next() replaces a packet that the server does not accept", () => {
  const outgoing = new Outgoing(bufferOf(5, [2]));
  const reason = Omission.MESSAGE_TOO_LARGE;
  outgoing.restart(1000);
  assertEquals(messages(outgoing), [40, 1000, 40]);
  outgoing.restart(999);
  assertEquals(messages(outgoing), [40, 4, 40]);
  assertEquals(outgoing.settle(0, 2), []);
  assertEquals(outgoing.settle(2, 4), [{ from: 2, to: 3, reason }]);
  assertEquals(outgoing.settle(2, 5), []);
  // Another server accepts it.
  outgoing.restart(999);
  messages(outgoing);
  outgoing.restart(1000);
  messages(outgoing);
  assertEquals(outgoing.settle(0, 5), []);
});

Deno.test("Outgoing.next() keeps below the server's limit and below the refused size", () => {
  const outgoing = new Outgoing(bufferOf(8));
  outgoing.restart(100);
  assertEquals(messages(outgoing), [100, 60]);
  outgoing.refused();
  outgoing.restart(40);
  assertEquals(messages(outgoing), Array(4).fill(40));
  outgoing.refused();
  outgoing.restart(100);
  assertEquals(messages(outgoing), Array(8).fill(20));
});

Deno.test("Outgoing.settle() reports packets that were replaced when they were added", () => {
  const buffer = new PacketBuffer();
  buffer.addBatch(omittedPackets(3, Omission.DAMAGED_IN_FILE));
  const outgoing = new Outgoing(buffer);
  outgoing.restart(Infinity);
  assertEquals(outgoing.settle(0, 3), []); // an earlier process has written them, or the packets themselves
  outgoing.restart(Infinity);
  assertEquals(messages(outgoing), [12]);
  assertEquals(outgoing.settle(0, 2), [{ from: 0, to: 2, reason: Omission.DAMAGED_IN_FILE }]);
});
