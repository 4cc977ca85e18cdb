/**
 * The bounded queue between the streams and the writer.
 *
 * Streams add packets to the batch at its tail; the writer removes whole batches: `for await (const batch of queue)`. A
 * batch is due as soon as a stream waits for its Ack or the batch is large, and `flushIntervalMs` after its first packet
 * at the latest; sooner with several packets of each device, which cost the store no more than one. The writer works on
 * one batch at a time, so at most two are in memory; while it works, the next batch gathers the packets of all streams
 * that come meanwhile, as databases do with commits.
 *
 * When the queue is {@linkcode PacketQueue.full}, a stream stops reading, HTTP/2 flow control applies backpressure to
 * its device, and the stream resumes when there is room again, in FIFO order. Nothing is dropped. One message may
 * exceed the bounds, so that a message larger than the queue can pass.
 *
 * @module
 */
import { QueuedBatch } from "./batch.ts";
import type { DeviceTable } from "./device_table.ts";
import { PacketChains } from "./packet_chains.ts";

/** Bounds of a {@linkcode PacketQueue}. */
export interface QueueOptions {
  /** Packets that may wait for the writer. */
  readonly maxPackets: number;
  /** Bytes of messages that may wait for the writer. */
  readonly maxBytes: number;
  /** Devices with packets that may wait for the writer: those of one batch. */
  readonly maxDevices: number;
  /** With so many devices a batch is due, and grows only while the writer is busy with the one before. */
  readonly dueDevices: number;
  /** Longest time that a packet waits for others to be stored with it. */
  readonly flushIntervalMs: number;
  /** All packets are kept, for the packet stream of the store; default: the latest payload of each device is. */
  readonly keepsPackets?: boolean;
}

/** With so many packets of each device a batch is due early: what they cost the store is spread over them. */
const EARLY_PACKETS_PER_DEVICE = 4;

/**
 * How early, in milliseconds and in times that the quicker of the last two batches took to store: so the store works a
 * third of the time at most, and 50 batches a second have no cost of their own that could be measured (at 2 M packets/s,
 * 1,000 devices). One batch that waited for a processor is no measure of the next.
 */
const EARLY_MS = 20, EARLY_PER_STORING = 2;

/** See the module. One consumer only. */
export class PacketQueue implements AsyncIterable<QueuedBatch> {
  #tail: QueuedBatch;
  /** Of the batch at the tail, and of the one before. */
  #chains: readonly [PacketChains, PacketChains] | undefined;
  readonly #waiters = new Set<() => void>();
  #releasing = false;
  #closed = false;
  #due = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** What the writer took for its latest batch, and for the one before. */
  #storingMs: readonly [number, number] = [Infinity, Infinity];
  #wakeWriter: (() => void) | undefined;

  /** An empty queue. `devices`: the table of the packets' devices. */
  constructor(readonly options: QueueOptions, readonly devices: DeviceTable) {
    if (options.keepsPackets) this.#chains = [new PacketChains(), new PacketChains()];
    this.#tail = new QueuedBatch(devices, this.#chains?.[0]);
  }

  /** Packets waiting for the writer. */
  get packets(): number {
    return this.#tail.packets;
  }

  /** Bytes of messages waiting for the writer. */
  get bytes(): number {
    return this.#tail.bytes;
  }

  /** Streams waiting for room. */
  get waiting(): number {
    return this.#waiters.size;
  }

  /** No message may be added now: wait with {@linkcode waitForRoom}. Streams that wait already go first. */
  get full(): boolean {
    return this.#tailFull || (this.#waiters.size > 0 && !this.#releasing);
  }

  get #tailFull(): boolean {
    const { maxPackets, maxBytes, maxDevices } = this.options;
    const { packets, bytes, deltas } = this.#tail;
    return packets >= maxPackets || bytes >= maxBytes || deltas >= maxDevices;
  }

  /** When the queue is {@linkcode full}: calls `resume` once there is room, in FIFO order; it may fill the queue again. */
  waitForRoom(resume: () => void): void {
    this.#waiters.add(resume);
  }

  /** `resume` is not to be called any more. */
  cancelWait(resume: () => void): void {
    this.#waiters.delete(resume);
  }

  /** The batch that packets are added to now. Call {@linkcode commit} after each message. */
  get tail(): QueuedBatch {
    return this.#tail;
  }

  /** Accounts for a message of `bytes` bytes and `packets` packets that was added to {@linkcode tail}. */
  commit(packets: number, bytes: number): void {
    const tail = this.#tail;
    tail.packets += packets;
    tail.bytes += bytes;
    if (this.#due) return;
    if (this.#tailFull || tail.deltas >= this.options.dueDevices) this.#setDue();
    else this.#timer ??= this.#startTimer();
  }

  /** A stream waits until its packets are stored: the batch is due now. */
  flush(): void {
    if (!this.#due) this.#setDue();
  }

  /** Ends the iteration after what was added so far; nothing may be added afterwards. */
  close(): void {
    this.#closed = true;
    this.#setDue();
  }

  /** Batches as they fall due, until {@linkcode close}. */
  async *[Symbol.asyncIterator](): AsyncGenerator<QueuedBatch, void, undefined> {
    for (;;) {
      if (!this.#due) await new Promise<void>((resolve) => this.#wakeWriter = resolve);
      const batch = this.#tail;
      this.#tail = this.#nextBatch();
      this.#due = this.#closed;
      // The writer sends the batch first; waiters are released while the store works.
      if (this.#waiters.size > 0) setTimeout(() => this.#releaseWaiters(), 0);
      if (batch.shares.length > 0) {
        const takenAtMs = performance.now();
        yield batch;
        this.#storingMs = [performance.now() - takenAtMs, this.#storingMs[0]];
      } else if (this.#closed) return;
    }
  }

  #startTimer(): ReturnType<typeof setTimeout> {
    const { flushIntervalMs } = this.options;
    const earlyMs = Math.max(EARLY_MS, EARLY_PER_STORING * Math.min(...this.#storingMs));
    if (earlyMs >= flushIntervalMs) return setTimeout(() => this.#setDue(), flushIntervalMs);
    return setTimeout(() => {
      const { packets, deltas } = this.#tail;
      if (packets >= EARLY_PACKETS_PER_DEVICE * deltas) this.#setDue();
      else this.#timer = setTimeout(() => this.#setDue(), flushIntervalMs - earlyMs);
    }, earlyMs);
  }

  /** The batch before the tail is settled. */
  #nextBatch(): QueuedBatch {
    if (this.#chains === undefined) return new QueuedBatch(this.devices);
    const [tail, before] = this.#chains;
    before.clear();
    this.#chains = [before, tail];
    return new QueuedBatch(this.devices, before);
  }

  #setDue(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#due = true;
    this.#wakeWriter?.();
    this.#wakeWriter = undefined;
  }

  #releaseWaiters(): void {
    this.#releasing = true;
    // A waiter that fills the queue again is re-queued at the tail.
    for (const resume of this.#waiters) {
      if (this.full) break;
      this.#waiters.delete(resume);
      resume();
    }
    this.#releasing = false;
  }
}
