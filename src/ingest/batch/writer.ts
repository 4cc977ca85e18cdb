/**
 * Queue → store: applies one batch after the other, each exactly once, and settles it with its streams.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import { Backoff } from "../../runtime/backoff.ts";
import {
  type Batch as StoreBatch,
  type DeviceLimits,
  type FencedSession,
  type PacketStreamPart,
  PRODUCER_EXPIRY_MS,
  type RefusedDevice,
  type Unapplied,
} from "../../store/packets.ts";
import type { Store } from "../../store/store.ts";
import { StoreError } from "../../store/store_error.ts";
import type { IngestCounters } from "../counters.ts";
import type { QueuedBatch } from "./batch.ts";
import type { PacketQueue } from "./queue.ts";

/** What a {@linkcode Writer} needs. */
export interface WriterOptions {
  /** Has the batches. */
  readonly queue: PacketQueue;
  /** Receives them. */
  readonly store: Store;
  /** Its flushes are counted here. */
  readonly counters: IngestCounters;
  /** Unique to this writer, so that the store recognises a batch that it has applied already. */
  readonly producer: string;
  /** Server time, Unix milliseconds. */
  readonly now: () => number;
  /** Receives a line when the store fails, and when it is back. */
  readonly log: Logger;
  /** When aborted, the current batch and all later ones are dropped; their senders have no Ack for them. */
  readonly signal: AbortSignal;
  /** How many devices a batch may add to the store; default: any number. */
  readonly deviceLimits?: DeviceLimits | undefined;
  /** Where the queue keeps all packets: entries of the packet stream; default: there is none. */
  readonly packetStream?: PacketStreamPart | undefined;
  /** Called when a batch is stored; `tookMs`: repeated attempts included. */
  readonly onFlushed?:
    | ((batch: { readonly packets: number; readonly devices: number; readonly tookMs: number }) => void)
    | undefined;
  /** Waits between two attempts to apply a batch; default {@linkcode retryBackoff}. */
  readonly backoff?: Backoff;
}

/** Refused devices are logged at most this often. */
const REFUSAL_LOG_MS = 60_000;

/** The names of the limits, for the log. */
const deviceLimitSettings: Readonly<Record<keyof DeviceLimits, string>> = {
  maxDevices: "TALLY_MAX_DEVICES",
  maxNewPerMinute: "TALLY_NEW_DEVICES_PER_MINUTE",
};

/** The waits of a {@linkcode Writer} between two attempts. */
export function retryBackoff(): Backoff {
  return new Backoff({ firstMs: 25, maxMs: 1000 });
}

/** The only writer of packets to the store in this process. */
export class Writer {
  /** When the store began to fail, on `performance.now`'s clock; undefined while it works. */
  failingSinceMs: number | undefined;
  /** With what the store failed last; undefined: it works. */
  lastError: unknown;
  #retrying = false;
  #sequence = 0;
  readonly #backoff: Backoff;
  /** Sequence of the batch applied last, and when its packets were received. */
  #applied = 0;
  #appliedAtMs = 0;
  #refusalLoggedMs = -Infinity;

  /** A writer that does nothing until {@linkcode run}. */
  constructor(readonly options: WriterOptions) {
    this.#backoff = options.backoff ?? retryBackoff();
  }

  /** Resolves when the queue is closed and all of it is stored, or when `signal` is aborted. */
  async run(): Promise<void> {
    const { queue, now, signal } = this.options;
    for await (const batch of queue) {
      this.#sequence++;
      const takenAtMs = performance.now();
      await this.#write(batch, now());
      if (signal.aborted) return;
      this.#count(batch, takenAtMs);
      batch.settle();
    }
  }

  /** Stores the batch, without the shares that turn out to be fenced. */
  async #write(batch: QueuedBatch, receivedAtMs: number): Promise<void> {
    const { producer, deviceLimits, packetStream, signal } = this.options, sequence = this.#sequence;
    const parts = { ...deviceLimits && { deviceLimits }, ...packetStream && { packetStream } };
    for (;;) {
      const isRecent = Math.abs(receivedAtMs - this.#appliedAtMs) < PRODUCER_EXPIRY_MS / 2;
      const previous = isRecent ? this.#applied : 0;
      const about = { producer, sequence, previous, receivedAtMs, ...parts };
      const storeBatch = batch.toStoreBatch(about);
      if (storeBatch === undefined) return;
      const unapplied = await this.#apply(storeBatch);
      if (signal.aborted) return;
      const fenced = unapplied.filter((found) => found.kind !== "refused");
      if (fenced.length > 0) {
        fenceShares(batch, new Map(fenced.map((found) => [found.session, found])));
        continue;
      }
      this.#applied = sequence;
      this.#appliedAtMs = receivedAtMs;
      const refused = unapplied.filter((found) => found.kind === "refused");
      if (refused.length > 0) this.#refuse(batch, refused);
      return;
    }
  }

  #refuse(batch: QueuedBatch, refused: readonly RefusedDevice[]): void {
    const { counters, log, deviceLimits } = this.options, { limit } = refused[0]!;
    counters.devicesRefused += refused.length;
    batch.refuse(new Set(refused.map(({ deviceId }) => deviceId)));
    if (performance.now() < this.#refusalLoggedMs + REFUSAL_LOG_MS) return;
    this.#refusalLoggedMs = performance.now();
    log.warn("new devices are refused: {setting} is reached; {refused} devices, {deviceId} among them", {
      setting: `${deviceLimitSettings[limit]} (${deviceLimits?.[limit]})`,
      refused: refused.length,
      deviceId: refused[0]!.deviceId,
    });
  }

  /**
   * The store has answered. While a batch is retried, only its success counts as such: a store may answer a ping and
   * still refuse the batch.
   */
  storeAnswered(): void {
    if (this.failingSinceMs === undefined || this.#retrying) return;
    this.options.log.info("store is back after {failedMs} ms", {
      failedMs: Math.round(performance.now() - this.failingSinceMs),
    });
    this.failingSinceMs = this.lastError = undefined;
  }

  /** The store has failed, with this error. */
  storeFailed(error: unknown): void {
    this.lastError = error;
    if (this.failingSinceMs !== undefined) return;
    this.failingSinceMs = performance.now();
    this.options.log.error("store fails, packets wait: {error}", { error });
  }

  /** Counts a batch that the writer took at `takenAtMs` and that is stored now. */
  #count({ packets, bytes, deltas, openedAtMs }: QueuedBatch, takenAtMs: number): void {
    const { counters, onFlushed } = this.options;
    const tookMs = performance.now() - takenAtMs;
    counters.flushes++;
    counters.receivedBytes += bytes;
    counters.queueWaitMs.observe(takenAtMs - openedAtMs);
    counters.flushMs.observe(tookMs);
    counters.flushPackets.observe(packets);
    counters.flushDevices.observe(deltas);
    onFlushed?.({ packets, devices: deltas, tookMs });
  }

  /** Retries until the store has answered; the same batch every time, so that it counts once. */
  async #apply(batch: StoreBatch): Promise<Unapplied> {
    const { store, counters, signal } = this.options;
    for (;;) {
      try {
        const unapplied = await store.apply(batch);
        this.#retrying = false;
        this.#backoff.succeeded();
        this.storeAnswered();
        return unapplied;
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        this.#retrying = true;
        this.storeFailed(error);
        counters.failedFlushes++;
      }
      await this.#backoff.wait(this.#backoff.failed(), signal);
      if (signal.aborted) return [];
    }
  }
}

function fenceShares(batch: QueuedBatch, fenced: ReadonlyMap<string, FencedSession>): void {
  for (const share of batch.shares) {
    const { claim } = share.owner;
    const found = claim && fenced.get(claim.session);
    if (found === undefined || share.fenced) continue;
    share.fenced = true;
    share.owner.fence(found);
  }
}
