/**
 * The part of the stores' contract about the packet stream.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";

import { MAX_ENTRY_BYTES, type PacketEntry } from "../../src/store/packet_stream.ts";
import type { Batch, DeltaPackets, DeviceDelta } from "../../src/store/packets.ts";
import type { Store } from "../../src/store/store.ts";
import { advance, batch, bytes, delta, now } from "../support/batches.ts";
import type { TestStores } from "./parts.ts";

/** A delta that keeps its packets, which are these bytes. */
export function keeping(deviceId: string, ...packets: readonly (string | Uint8Array)[]): DeviceDelta {
  const kept = packets.map((packet) => typeof packet === "string" ? bytes(packet) : packet);
  const chain: DeltaPackets = {
    keptBytes: kept.reduce((sum, { length }) => sum + length, 0),
    first: 0,
    next: (packet) => packet + 1 < kept.length ? packet + 1 : -1,
    bytesOf: (packet) => kept[packet]!.length,
    write(packet, target, at) {
      target.set(kept[packet]!, at);
      return at + kept[packet]!.length;
    },
  };
  return { ...delta(deviceId, packets.length), kept: chain };
}

/** A batch whose packets are appended to a stream of so many entries. */
export function streamed(
  sequence: number,
  devices: readonly DeviceDelta[],
  others: Partial<Batch> = {},
  maxEntries = 1000,
): Batch {
  return { ...batch(sequence, { devices }), ...others, packetStream: { maxEntries } };
}

/** Everything that the stream has of a device, page by page. */
export async function allPacketsOf(store: Store, deviceId: string, limit = 1000): Promise<PacketEntry[]> {
  const entries: PacketEntry[] = [];
  for (let after = "";;) {
    const page = await store.packetsOf(deviceId, after, limit);
    entries.push(...page.entries);
    if (page.isEnd) return entries;
    after = page.next;
  }
}

/** The packets of all entries, as text. */
export async function textOf(store: Store, deviceId: string, limit?: number): Promise<string> {
  const entries = await allPacketsOf(store, deviceId, limit);
  return entries.map(({ packets }) => new TextDecoder().decode(packets)).join();
}

/** Registers the tests. `isSharded`: limits are divided. */
export function testPacketStream(test: TestStores, isSharded: boolean): void {
  test("apply() appends the packets of each device to the packet stream", async (store, other) => {
    const { epoch } = await store.claimSession("s", 0, now);
    const sessions = [advance("s", epoch, 0, 5)];
    assertEquals(
      await store.apply(streamed(1, [keeping("a", "1", "2"), keeping("é", "x")], { sessions })),
      [],
    );
    assertEquals(await store.apply(streamed(2, [keeping("a", "3")])), []);
    await store.apply(batch(3, { devices: [delta("a", 1)] }));
    assertEquals([await textOf(other, "a"), await textOf(other, "é"), await textOf(other, "b")], [
      "12,3",
      "x",
      "",
    ]);
    const [entry] = await allPacketsOf(other, "a");
    assertEquals(entry?.receivedAtMs, now);
  });

  test(
    "apply() appends a repeated batch, and one that is fenced, once or not at all",
    async (store, other) => {
      const older = await store.claimSession("s", 0, now);
      const { epoch } = await store.claimSession("s", 0, now);
      const fenced = { sessions: [advance("s", older.epoch, 0, 1)] };
      const [found] = await store.apply(streamed(1, [keeping("a", "fenced")], fenced));
      assertEquals(found?.kind, "superseded");
      assertEquals(await textOf(store, "a"), "");
      const first = streamed(1, [keeping("a", "1")], { sessions: [advance("s", epoch, 0, 1)] });
      await store.apply(first);
      await store.apply(first);
      await other.apply(first);
      assertEquals(await textOf(store, "a"), "1");
    },
  );

  if (!isSharded) {
    test("apply() appends nothing of devices that a limit refuses", async (store) => {
      const deviceLimits = { maxDevices: 2, maxNewPerMinute: 1000 };
      await store.apply(streamed(1, [keeping("b", "1")], { deviceLimits }));
      const devices = [keeping("a", "1"), keeping("b", "2"), keeping("c", "1"), keeping("d", "1")];
      const refused = await store.apply(streamed(2, devices, { deviceLimits }));
      assertEquals(refused.map((found) => found.kind === "refused" && found.deviceId), ["c", "d"]);
      const texts = await Promise.all(["a", "b", "c", "d"].map((id) => textOf(store, id)));
      assertEquals(texts, ["1", "1,2", "", ""]);
    });
  }

  test("packetsOf() returns pages after a cursor, and new packets later", async (store) => {
    for (let i = 1; i <= 5; i++) {
      await store.apply(streamed(i, [keeping("a", `${i}`), keeping("b", "other")]));
    }
    const first = await store.packetsOf("a", "", 2);
    assertEquals([first.entries.length, first.isEnd], [2, false]);
    assertEquals(await textOf(store, "a", 2), "1,2,3,4,5");
    const rest = await store.packetsOf("a", first.next, 1000);
    assertEquals([rest.entries.length, rest.isEnd], [3, true]);
    assertEquals((await store.packetsOf("a", rest.next, 10)).entries, []);
    await store.apply(streamed(6, [keeping("a", "6")]));
    const { entries } = await store.packetsOf("a", rest.next, 10);
    assertEquals(entries.map(({ packets }) => new TextDecoder().decode(packets)), ["6"]);
    const after = await store.packetsOf("a", rest.entries[0]!.id, 1);
    assertEquals(new TextDecoder().decode(after.entries[0]?.packets), "4");
  });

  test("apply() divides many packets of a device into entries, and a page is bounded", async (store) => {
    const packet = (i: number) => new Uint8Array(1000).fill(i);
    const large = new Uint8Array(300_000).fill(1);
    const packets = Array.from({ length: 200 }, (_, i) => packet(i));
    await store.apply(streamed(1, [keeping("a", ...packets, large, packet(7)), keeping("b", "x")]));
    const entries = await allPacketsOf(store, "a");
    const sent = [...packets.flatMap((bytes) => [...bytes]), ...large, ...packet(7)];
    assertEquals(entries.flatMap((entry) => [...entry.packets]), sent);
    assertEquals(
      entries.map((entry) => entry.packets.length <= MAX_ENTRY_BYTES),
      entries.map((entry) => entry.packets.length !== 300_000),
    );
    assertEquals((await store.packetsOf("a", "", 1000)).entries.length, 4);
    assertEquals(await textOf(store, "b"), "x");
  });

  test("apply() removes the oldest entries above the length of the packet stream", async (store) => {
    const packet = "p".repeat(1000);
    for (let i = 1; i <= 100; i++) await store.apply(streamed(i, [keeping("a", packet)], {}, 10));
    const entries = await allPacketsOf(store, "a");
    // Redis removes whole nodes, of 4 KB each.
    assert(entries.length >= 10 && entries.length < 20, `${entries.length} entries`);
  });
}
