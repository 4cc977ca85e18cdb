import { setTimeout as delay } from "node:timers/promises";

import { assert, assertEquals } from "@std/assert";

import { QueuedBatch, type ShareOwner, type StreamShare } from "../../src/ingest/batch/batch.ts";
import { DeviceTable } from "../../src/ingest/batch/device_table.ts";
import { PacketQueue } from "../../src/ingest/batch/queue.ts";
import { RejectReason } from "../../src/protocol/reject_reason.ts";
import { forSeeds } from "../support/random.ts";

/** A stream that keeps the shares it receives. */
class Owner implements ShareOwner {
  settled: StreamShare[] = [];
  discarded: StreamShare[] = [];
  constructor(readonly claim: ShareOwner["claim"] = undefined) {}
  settle(share: StreamShare): void {
    this.settled.push(share);
  }
  discard(share: StreamShare): void {
    this.discarded.push(share);
  }
  fence(): void {}
}

const bounds = { maxPackets: 1e6, maxBytes: 1e6, maxDevices: 1e6, dueDevices: 1e6 };
const bytes = new TextEncoder().encode("0123456789");
const about = { producer: "p", sequence: 1, previous: 0, receivedAtMs: 0 };

/** The queue's devices; those of a test have to be interned in it. */
const devices = new DeviceTable({ maxDevices: 1000 });
const numberOf = (table: DeviceTable, id: string) => {
  const utf8 = new TextEncoder().encode(id);
  return table.intern(utf8, 0, utf8.length);
};
const device = (id: string) => numberOf(devices, id);

function put(queue: PacketQueue, owner = new Owner(), packets = 1): void {
  const share = queue.tail.share(owner, 0);
  share.stored += packets;
  share.to += packets;
  queue.commit(packets, 10 * packets);
}

Deno.test("PacketQueue, iterated: each turn yields all queued packets, then the end", async () => {
  const queue = new PacketQueue({ ...bounds, maxPackets: 100, flushIntervalMs: 1 }, devices);
  put(queue);
  put(queue);
  const sizes: number[] = [];
  for await (const batch of queue) {
    sizes.push(batch.packets);
    if (sizes.length === 1) {
      put(queue);
      queue.close();
    }
  }
  assertEquals(sizes, [2, 1]);
});

Deno.test("PacketQueue yields a batch at once when it is full, for any interval", async () => {
  const queue = new PacketQueue({ ...bounds, maxPackets: 3, flushIntervalMs: 3_600_000 }, devices);
  put(queue, new Owner(), 3);
  const batches = queue[Symbol.asyncIterator]();
  assertEquals((await batches.next()).value?.packets, 3);
  put(queue);
  queue.close();
  assertEquals((await batches.next()).value?.packets, 1);
  assertEquals((await batches.next()).done, true);
});

/** A queue whose writer took so long for its latest batches; `next()` adds packets of two devices, and has their batch. */
async function afterCommits(...commitsMs: readonly number[]) {
  const queue = new PacketQueue({ ...bounds, flushIntervalMs: 3_600_000 }, devices);
  const batches = queue[Symbol.asyncIterator]();
  for (const commitMs of [0, ...commitsMs]) { // what the one before took is known with the next
    put(queue);
    queue.flush();
    await batches.next();
    await delay(commitMs);
  }
  put(queue);
  queue.flush();
  await batches.next();
  const next = (packetsPerDevice: number) => {
    const share = queue.tail.share(new Owner(), 0);
    for (const id of ["a", "b"]) {
      const delta = share.group.delta(device(id));
      for (let i = 0; i < packetsPerDevice; i++) delta.add(share, i, bytes, 0, bytes.length);
    }
    put(queue, new Owner(), 2 * packetsPerDevice);
    return batches.next();
  };
  return { queue, next };
}

Deno.test("PacketQueue yields a batch with several packets of each device long before the interval, others not", async () => {
  const one = await afterCommits(), four = await afterCommits();
  const later = one.next(1);
  assertEquals(await Promise.race([later.then(() => 1), four.next(4).then(() => 4)]), 4);
  one.queue.close();
  await later;
});

Deno.test("PacketQueue: one slow commit does not delay the next batch, two do", async () => {
  const twice = await afterCommits(60, 60), once = await afterCommits(0, 300);
  const order: string[] = [];
  await Promise.all([
    twice.next(4).then(() => order.push("twice")),
    once.next(4).then(() => order.push("once")),
  ]);
  assertEquals(order, ["once", "twice"]);
});

Deno.test("PacketQueue.flush() makes a batch due at once, and the one that gathers while the writer works", async () => {
  const queue = new PacketQueue({ ...bounds, flushIntervalMs: 3_600_000 }, devices);
  const batches = queue[Symbol.asyncIterator]();
  const first = batches.next();
  put(queue);
  queue.flush();
  assertEquals((await first).value?.packets, 1);
  // The writer works on the first.
  put(queue);
  queue.flush();
  put(queue);
  queue.flush();
  assertEquals((await batches.next()).value?.packets, 2);
  put(queue);
  let taken = false;
  const last = batches.next().finally(() => taken = true);
  await new Promise((resolve) => setTimeout(resolve, 5));
  assertEquals(taken, false);
  queue.close();
  assertEquals((await last).value?.packets, 1);
});

Deno.test("PacketQueue.full is true by packets or by bytes; one message may exceed them", () => {
  const queue = new PacketQueue({ ...bounds, maxPackets: 10, maxBytes: 50, flushIntervalMs: 1000 }, devices);
  put(queue, new Owner(), 4);
  assert(!queue.full);
  put(queue, new Owner(), 100);
  assert(queue.full);
  assertEquals([queue.packets, queue.bytes], [104, 1040]);
  queue.close();
  // At its bound it is full.
  for (const [packets, isFull] of [[4, false], [5, true]] as const) {
    const byBytes = new PacketQueue({ ...bounds, maxBytes: 50, flushIntervalMs: 1000 }, devices);
    put(byBytes, new Owner(), packets);
    assertEquals(byBytes.full, isFull);
    byBytes.close();
  }
});

Deno.test("PacketQueue yields a batch of many devices at once, and grows while the writer is busy", async () => {
  const queue = new PacketQueue(
    { ...bounds, dueDevices: 2, maxDevices: 3, flushIntervalMs: 3_600_000 },
    devices,
  );
  const owner = new Owner();
  let share = queue.tail.share(owner, 0);
  const add = (id: number) => {
    share.group.delta(id).add(share, 1, bytes, 0, 1);
    queue.commit(1, 1);
  };
  const batches = queue[Symbol.asyncIterator]();
  const [a, b, c] = [device("a"), device("b"), device("c")];
  const first = batches.next();
  add(a);
  add(a);
  add(b);
  assert(!queue.full);
  assertEquals((await first).value?.packets, 3);
  // The writer is busy with the first now.
  share = queue.tail.share(owner, 0);
  add(a);
  add(b);
  assert(!queue.full);
  add(c);
  assert(queue.full);
  assertEquals((await batches.next()).value?.packets, 3);
  assert(!queue.full);
  queue.close();
});

Deno.test("PacketQueue keeps nothing of messages without packets", async () => {
  const queue = new PacketQueue({ ...bounds, maxPackets: 10, maxBytes: 50, flushIntervalMs: 1 }, devices);
  queue.commit(0, 60);
  assert(queue.full);
  const batches = queue[Symbol.asyncIterator]();
  const room = new Promise<void>((resolve) => queue.waitForRoom(resolve));
  const next = batches.next();
  await room;
  assertEquals(queue.bytes, 0);
  put(queue);
  assertEquals((await next).value?.packets, 1);
  queue.close();
  await batches.next();
});

Deno.test("PacketQueue.cancelWait() removes a stream that has ended", async () => {
  const queue = new PacketQueue({ ...bounds, maxPackets: 1, flushIntervalMs: 1 }, devices);
  put(queue);
  const resumed: string[] = [];
  const gone = () => resumed.push("gone");
  queue.waitForRoom(gone);
  const other = new Promise<void>((resolve) => queue.waitForRoom(resolve));
  queue.cancelWait(gone);
  assertEquals(queue.waiting, 1);
  await queue[Symbol.asyncIterator]().next();
  await other;
  assertEquals(resumed, []);
  queue.close();
});

Deno.test("PacketQueue.waitForRoom() is FIFO, and every stream gets room", () =>
  forSeeds(20, async (random) => {
    const queue = new PacketQueue({ ...bounds, maxPackets: random.int(1, 20), flushIntervalMs: 1 }, devices);
    const waited: number[] = [], resumed: number[] = [];
    const streams = random.int(2, 30);
    let left = streams * 5;
    const wait = (id: number, messages: number) => {
      waited.push(id);
      queue.waitForRoom(() => {
        resumed.push(id);
        send(id, messages);
      });
    };
    const send = (id: number, messages: number) => {
      for (; messages > 0; messages--) {
        if (queue.full) return wait(id, messages);
        put(queue, new Owner(), random.int(1, 8));
        if (--left === 0) queue.close();
      }
    };
    for (let id = 0; id < streams; id++) send(id, 5);
    for await (const _ of queue) {
      // The batches need no other handling.
    }
    assertEquals(left, 0);
    assertEquals(resumed, waited);
  }));

Deno.test("QueuedBatch coalesces packets of one device into one QueuedDelta, over all streams without a session", () => {
  const batch = new QueuedBatch(devices);
  const a = device("a");
  const [first, second] = [batch.share(new Owner(), 0), batch.share(new Owner(), 0)];
  first.group.delta(a).add(first, 5, bytes, 0, 2);
  first.group.delta(device("b")).add(first, 1, bytes, 0, 0);
  second.group.delta(a).add(second, 7, bytes, 2, 4);
  second.group.delta(a).add(second, 6, bytes, 4, 6);
  first.stored = second.stored = 2;
  const stored = batch.toStoreBatch({ ...about, receivedAtMs: 99 })!;
  assertEquals(
    stored.devices.map(({ deviceId, packets, timestampMs, payload }) => [
      deviceId,
      packets,
      timestampMs,
      new TextDecoder().decode(payload),
    ]),
    [["a", 3, 7, "23"], ["b", 1, 1, ""]],
  );
  assertEquals([stored.producer, stored.sequence, stored.receivedAtMs, stored.sessions], ["p", 1, 99, []]);
});

Deno.test("QueuedBatch.toStoreBatch() has a device once when the table was emptied between its packets", () => {
  const table = new DeviceTable({ maxDevices: 2 });
  const batch = new QueuedBatch(table), share = batch.share(new Owner(), 0);
  for (const [index, id] of ["a", "b", "c", "a", "d", "e", "a"].entries()) {
    share.group.delta(numberOf(table, id)).add(share, index, bytes, index, index + 1);
  }
  const stored = batch.toStoreBatch(about)!;
  const found = stored.devices.map(({ deviceId, packets, timestampMs }) => [deviceId, packets, timestampMs]);
  assertEquals(found, [["a", 3, 6], ["b", 1, 1], ["c", 1, 2], ["d", 1, 4], ["e", 1, 5]]);
  batch.settle();
});

Deno.test("QueuedBatch.refuse() rejects the packets of a refused device in each share that contributed them", () => {
  const batch = new QueuedBatch(devices), claimed = new Owner({ session: "s", epoch: 1 });
  const shares = [batch.share(new Owner(), 0), batch.share(new Owner(), 0), batch.share(claimed, 0)];
  const [first, second, third] = shares as [StreamShare, StreamShare, StreamShare];
  const a = device("a"), b = device("b");
  const add = (share: StreamShare, of: number) => {
    share.stored++;
    share.group.delta(of).add(share, 1, bytes, 0, 1);
  };
  for (const share of [first, second, first, second, second, third]) add(share, a);
  add(first, b);
  add(third, b);
  assertEquals(batch.refuse(new Set(["a"])), 6);
  assertEquals(shares.map(({ stored }) => stored), [1, 0, 1]);
  const rejected = shares.map(({ rejections }) => [...rejections ?? []]);
  assertEquals(rejected, [2, 3, 1].map((packets) => [[RejectReason.DEVICE_LIMIT, packets]]));
});

Deno.test("QueuedDelta.add() keeps the payload of the greatest timestamp, the last received among equals", () => {
  const batch = new QueuedBatch(devices);
  const a = device("a");
  const share = batch.share(new Owner(), 0), { group } = share;
  const payload = () => new TextDecoder().decode(group.delta(a).payload);
  for (
    const [timestampMs, start, expected] of [[5, 0, "0"], [5, 1, "1"], [4, 2, "1"], [5, 3, "3"], [
      6,
      4,
      "4",
    ]] as const
  ) {
    group.delta(a).add(share, timestampMs, bytes, start, start + 1);
    assertEquals(payload(), expected);
  }
  assertEquals(batch.toStoreBatch(about)?.devices.map(({ packets }) => packets), [5]);
});

Deno.test("QueuedDelta.merge() keeps the payload of the greatest timestamp, that of the later group among equals", () => {
  const a = device("a");
  const merged = (...timestamps: number[]) => {
    const batch = new QueuedBatch(devices);
    for (const [index, timestampMs] of timestamps.entries()) {
      const share = batch.share(new Owner({ session: `s${index}`, epoch: 1 }), 0);
      share.group.delta(a).add(share, timestampMs, bytes, index, index + 1);
    }
    return batch.toStoreBatch(about)!.devices.map(({ packets, timestampMs, payload }) => [
      packets,
      timestampMs,
      new TextDecoder().decode(payload),
    ]);
  };
  assertEquals(merged(5, 5), [[2, 5, "1"]]);
  assertEquals(merged(5, 5, 4), [[3, 5, "1"]]);
  assertEquals(merged(5, 4, 5), [[3, 5, "2"]]);
  assertEquals(merged(6, 5, 5), [[3, 6, "0"]]);
});

Deno.test("PacketQueue.waitForRoom() is FIFO, also for streams that arrive later", async () => {
  const queue = new PacketQueue({ ...bounds, maxPackets: 1, flushIntervalMs: 1 }, devices);
  const batches = queue[Symbol.asyncIterator]();
  put(queue);
  const order: string[] = [];
  const waited = new Promise<void>((resolve) =>
    queue.waitForRoom(() => {
      order.push("waited");
      put(queue);
      resolve();
    })
  );
  await batches.next();
  // The tail is empty, and the stream that waits has not been called yet.
  assertEquals([queue.packets, queue.waiting], [0, 1]);
  assert(queue.full, "a stream that comes now would be served first");
  queue.waitForRoom(() => order.push("came later"));
  await waited;
  assertEquals(order, ["waited"]);
  assertEquals(queue.waiting, 1);
  const last = new Promise<void>((resolve) => queue.waitForRoom(resolve));
  await batches.next();
  assertEquals([queue.packets, queue.waiting], [0, 2]);
  assert(queue.full, "nor is it now, when room was handed out before");
  await last;
  assertEquals(order, ["waited", "came later"]);
  assert(!queue.full);
  queue.close();
  await batches.next();
});

Deno.test("QueuedBatch.toStoreBatch() leaves out fenced sessions, and only these", () => {
  const batch = new QueuedBatch(devices);
  const owners = ["s1", "s2"].map((session) => new Owner({ session, epoch: 3 }));
  const shares = [...owners, new Owner()].map((owner) => batch.share(owner, 10));
  const a = device("a");
  for (const [index, share] of shares.entries()) {
    share.group.delta(a).add(share, index, bytes, index, index + 1);
    share.to = 11;
  }
  assertEquals(batch.toStoreBatch(about)?.devices.map(({ packets }) => packets), [3]);
  shares[1]!.fenced = true;
  const stored = batch.toStoreBatch(about)!;
  assertEquals(stored.devices.map(({ packets }) => packets), [2]);
  assertEquals(stored.sessions, [{ session: "s1", epoch: 3, from: 10, to: 11 }]);
  batch.settle();
  assertEquals(owners.map(({ settled, discarded }) => [settled.length, discarded.length]), [[1, 0], [0, 1]]);
  assertEquals(devices.deltaOf(a), undefined);
});

Deno.test("QueuedBatch.toStoreBatch() is empty when all packets were rejected, fenced or duplicates", () => {
  const batch = new QueuedBatch(devices);
  batch.share(new Owner(), 0).reject(1);
  const again = batch.share(new Owner({ session: "r", epoch: 1 }), 7);
  again.duplicates++; // it has nothing new, and its session does not advance
  const fenced = batch.share(new Owner({ session: "s", epoch: 1 }), 0);
  fenced.to = 1;
  fenced.fenced = true;
  assertEquals(batch.toStoreBatch(about), undefined);
});
