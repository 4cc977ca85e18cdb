/** What becomes of deltas while streams, batches and the table of devices change: compared with a plain model. */
import { Buffer } from "node:buffer";

import { assertEquals } from "@std/assert";

import { QueuedBatch, type ShareOwner, type StreamShare } from "../../src/ingest/batch/batch.ts";
import { DeviceTable } from "../../src/ingest/batch/device_table.ts";
import { PacketChains } from "../../src/ingest/batch/packet_chains.ts";
import type { Packet as ProtoPacket } from "../../src/protocol/messages.ts";
import { streamBatches } from "../../src/protocol/telemetry_proto.ts";
import { packEntries, readEntries } from "../../src/store/model/packet_entries.ts";
import type { Batch, DeviceDelta } from "../../src/store/packets.ts";
import { packDevices } from "../../src/store/redis/device_columns.ts";
import { forSeeds, type Random } from "../support/random.ts";

const about = { producer: "p", sequence: 1, previous: 0, receivedAtMs: 0 };
const encoder = new TextEncoder();

interface Packet {
  readonly share: StreamShare;
  readonly id: string;
  readonly timestampMs: number;
  readonly payload: string;
}

/** A batch, with what was added to it. */
class TestBatch {
  readonly batch: QueuedBatch;
  readonly shares: StreamShare[];
  readonly packets: Packet[] = [];

  constructor(readonly table: DeviceTable, random: Random, readonly chains = new PacketChains()) {
    this.batch = new QueuedBatch(table, chains);
    this.shares = Array.from({ length: random.int(1, 5) }, (_, i) => {
      const claim = random.chance(0.7) ? { session: `s${i}`, epoch: 1 } : undefined;
      const owner: ShareOwner = { claim, settle() {}, discard() {}, fence() {} };
      return this.batch.share(owner, 0);
    });
  }

  add(random: Random, ids: readonly string[]): void {
    const share = random.pick(this.shares), id = random.pick(ids), timestampMs = random.int(0, 5);
    // Below and above the length from which on payloads are copied in another way.
    const payload = `${this.packets.length} of ${id} `.padEnd(random.pick([0, 63, 64, 200]), ".");
    const idBytes = encoder.encode(id), bytes = encoder.encode(payload);
    const device = this.table.intern(idBytes, 0, idBytes.length);
    share.stored++;
    share.to++;
    const delta = share.group.delta(device);
    delta.add(share, timestampMs, bytes, 0, bytes.length);
    delta.keep(this.chains, timestampMs, bytes, 0, bytes.length);
    this.packets.push({ share, id, timestampMs, payload });
  }

  /** What the store must get: what groups collected, one after the other. */
  expected(): DeviceDelta[] {
    const deltas = new Map<string, DeviceDelta>();
    const groups = new Set(this.shares.filter(({ fenced }) => !fenced).map(({ group }) => group));
    for (const group of groups) {
      for (const { id, timestampMs, payload } of this.packets.filter(({ share }) => share.group === group)) {
        const before = deltas.get(id), packets = 1 + (before?.packets ?? 0);
        const isLatest = before === undefined || timestampMs >= before.timestampMs;
        const latest = { deviceId: id, timestampMs, payload: encoder.encode(payload) };
        deltas.set(id, { ...(isLatest ? latest : before), packets });
      }
    }
    return sorted([...deltas.values()]);
  }

  check(): void {
    const stored: Partial<Batch> = this.batch.toStoreBatch(about) ?? {}, expected = this.expected();
    const found = sorted(stored.devices ?? []);
    assertEquals(found.map(plainDelta), expected);
    // The bytes are of the same id and payload.
    assertEquals(packDevices(found), packDevices(expected));
    this.#checkEntries(stored.devices ?? []);
    if (this.table.generation > 0) return;
    // However often devices go from one group to another and back.
    const collected = new Map<string, Set<object>>();
    for (const { id, share: { group } } of this.packets) {
      collected.set(id, (collected.get(id) ?? new Set()).add(group));
    }
    const sizes = [...collected.values()].map(({ size }) => size);
    assertEquals(this.batch.deltas, sizes.reduce((sum, size) => sum + size, 0));
    assertEquals(this.batch.shared.size, sizes.filter((size) => size > 1).length);
  }

  /** All packets are kept, those of each device in the order of groups, and of their arrival in each group. */
  #checkEntries(devices: readonly DeviceDelta[]): void {
    const found: ProtoPacket[] = [], positions: number[] = [];
    readEntries(packEntries(devices), (position, id, packets) => {
      positions.push(position);
      const { packets: read } = streamBatches.requestDeserialize(Buffer.from(packets));
      assertEquals([...new Set(read.map(({ device_id }) => device_id))], [id]);
      assertEquals(devices[position]!.deviceId, id);
      found.push(...read);
    });
    assertEquals(positions, [...devices.keys()]);
    const groups = new Set(this.shares.filter(({ fenced }) => !fenced).map(({ group }) => group));
    const expected = devices.flatMap(({ deviceId }) =>
      [...groups].flatMap((group) =>
        this.packets.filter(({ id, share }) => id === deviceId && share.group === group)
      )
    );
    assertEquals(
      found.map(({ timestamp, payload }) => [timestamp, new TextDecoder().decode(payload)]),
      expected.map(({ timestampMs, payload }) => [timestampMs, payload]),
    );
  }

  checkRefusal(id: string): void {
    const packets = this.packets.filter((packet) => packet.id === id && !packet.share.fenced);
    const before = this.shares.map(({ stored }) => stored);
    assertEquals(this.batch.refuse(new Set([id])), packets.length);
    const expected = this.shares.map((share, i) =>
      before[i]! - packets.filter((one) => one.share === share).length
    );
    assertEquals(this.shares.map(({ stored }) => stored), expected);
  }
}

const plainDelta = ({ deviceId, packets, timestampMs, payload }: DeviceDelta) => (
  { deviceId, packets, timestampMs, payload }
);
const sorted = (deltas: readonly DeviceDelta[]) =>
  deltas.toSorted((a, b) => a.deviceId < b.deviceId ? -1 : 1);

Deno.test("QueuedBatch has what each group collected, whatever its deltas were used for before", () =>
  forSeeds(300, (random) => {
    const table = new DeviceTable({ maxDevices: random.pick([3, 6, 1000]) });
    const ids = ["a", "b", "ü", "🚚-1", "sensor-7", "x".repeat(128), "é".repeat(64)].slice(random.int(0, 5));
    let written: TestBatch | undefined;
    const chains = [new PacketChains(), new PacketChains()];
    for (let round = 0; round < 6; round++) {
      chains[round % 2]!.clear();
      const open = new TestBatch(table, random, chains[round % 2]);
      for (let packets = random.int(0, 30); packets > 0; packets--) {
        open.add(random, ids);
        // The batch before is stored meanwhile, at some time.
        if (written === undefined || !random.chance(0.1)) continue;
        written.check();
        written.batch.settle();
        written = undefined;
      }
      written?.check();
      written?.batch.settle();
      open.check();
      for (const share of open.shares) {
        if (share.owner.claim !== undefined && random.chance(0.2)) share.fenced = true;
      }
      open.check();
      if (random.chance(0.3)) open.checkRefusal(random.pick(ids));
      written = open;
    }
  }));

Deno.test("QueuedBatch.settle() releases deltas, which then have nothing of what they were", () => {
  const table = new DeviceTable({ maxDevices: 10 });
  const owner: ShareOwner = { claim: undefined, settle() {}, discard() {}, fence() {} };
  const batchOf = (id: string) => {
    const batch = new QueuedBatch(table), share = batch.share(owner, 0), bytes = encoder.encode(id);
    const delta = share.group.delta(table.intern(bytes, 0, bytes.length));
    return { batch, share, delta };
  };
  const first = batchOf("first");
  for (const share of [first.share, {}, first.share]) {
    first.delta.add(share, 7, encoder.encode("secret"), 0, 6);
  }
  first.batch.settle();
  assertEquals([first.delta.packets, first.delta.payload.length, first.delta.payload.buffer.byteLength], [
    0,
    0,
    0,
  ]);
  assertEquals(first.delta.idView.length, 0);
  const second = batchOf("second");
  assertEquals(second.delta === first.delta, true);
  assertEquals(second.delta.contributions().size, 0);
  assertEquals([second.delta.deviceId, second.delta.timestampMs, second.delta.payload.length], [
    "second",
    -1,
    0,
  ]);
});
