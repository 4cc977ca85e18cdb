/**
 * Queue → store: applies one batch after the other, each exactly once, and tells the streams.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import { Backoff } from "../../runtime/backoff.ts";
import {
  type Batch as StoreBatch,
  type FencedSession,
  type FencedSessions,
  PRODUCER_EXPIRY_MS,
} from "../../store/packets.ts";
import type { Store } from "../../store/store.ts";
import { StoreError } from "../../store/store_error.ts";
import type { IngestCounters } from "../counters.ts";
import type { PacketBatch, PacketQueue } from "./queue.ts";

/** What a {@linkcode Writer} needs. */
export interface WriterOptions {
  /** What to write. */
  readonly queue: PacketQueue;
  /** Where to. */
  readonly store: Store;
  /** Counts flushes. */
  readonly counters: IngestCounters;
  /** Unique to this writer, for the store to recognise a batch it has seen. */
  readonly producer: string;
  /** Server time, Unix milliseconds. */
  readonly now: () => number;
  /** Told when the store fails and when it is back. */
  readonly log: Logger;
  /** Gives up the batch at hand and all after it: whoever sent them was not acknowledged. */
  readonly abandon: AbortSignal;
  /** Waits between two attempts to apply a batch; default {@linkcode retryBackoff}. */
  readonly backoff?: Backoff;
}

/** The waits of a {@linkcode Writer} between two attempts. */
export function retryBackoff(): Backoff {
  return new Backoff({ firstMs: 25, maxMs: 1000 });
}

/** The only one who writes to the store for this process. */
export class Writer {
  /** When the store began to fail, on `performance.now`'s clock, if it does not work now. */
  failingSinceMs: number | undefined;
  #retrying = false;
  #sequence = 0;
  readonly #backoff: Backoff;
  /** Of the batch applied last, and when its packets were received. */
  #applied = 0;
  #appliedAtMs = 0;

  /** A writer that does nothing until {@linkcode run}. */
  constructor(readonly options: WriterOptions) {
    this.#backoff = options.backoff ?? retryBackoff();
  }

  /** Works until the queue is closed and empty; then everything taken is stored, or `abandon` was given. */
  async run(): Promise<void> {
    const { queue, counters, producer, now, abandon } = this.options;
    for await (const batch of queue) {
      this.#sequence++;
      const receivedAtMs = now();
      for (;;) {
        const sequence = this.#sequence;
        const isRecent = Math.abs(receivedAtMs - this.#appliedAtMs) < PRODUCER_EXPIRY_MS / 2;
        const previous = isRecent ? this.#applied : 0;
        const toStore = batch.toStore({ producer, sequence, previous, receivedAtMs });
        if (toStore === undefined) break;
        const fenced = await this.#apply(toStore);
        if (abandon.aborted) return;
        if (fenced.length === 0) {
          this.#applied = sequence;
          this.#appliedAtMs = receivedAtMs;
          break;
        }
        leaveOut(batch, new Map(fenced.map((found) => [found.session, found])));
      }
      counters.flushes++;
      batch.settle();
    }
  }

  /**
   * Records whether the store answers. While a batch is tried again only that batch can say that the store
   * is back: a store may answer and still refuse it.
   */
  storeAnswered(error: unknown): void {
    const { log } = this.options;
    if (error === undefined) {
      if (this.failingSinceMs === undefined || this.#retrying) return;
      log.info("store is back after {failedMs} ms", {
        failedMs: Math.round(performance.now() - this.failingSinceMs),
      });
      this.failingSinceMs = undefined;
    } else if (this.failingSinceMs === undefined) {
      this.failingSinceMs = performance.now();
      log.error("store fails, packets wait: {error}", { error });
    }
  }

  /** Applies until the store has answered; the same batch every time, so that it counts once. */
  async #apply(batch: StoreBatch): Promise<FencedSessions> {
    const { store, counters, abandon } = this.options;
    for (;;) {
      try {
        const fenced = await store.apply(batch);
        this.#retrying = false;
        this.#backoff.succeeded();
        this.storeAnswered(undefined);
        return fenced;
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        this.#retrying = true;
        this.storeAnswered(error);
        counters.failedFlushes++;
      }
      await this.#backoff.wait(this.#backoff.failed(), abandon);
      if (abandon.aborted) return [];
    }
  }
}

function leaveOut(batch: PacketBatch, fenced: ReadonlyMap<string, FencedSession>): void {
  for (const section of batch.sections) {
    const { claim } = section.owner;
    const found = claim && fenced.get(claim.session);
    if (found === undefined || section.fenced) continue;
    section.fenced = true;
    section.owner.fence(found);
  }
}
