/**
 * How much of a stream is settled: what its Acks report.
 *
 * @module
 */
import type { Ack } from "../../protocol/messages.ts";
import type { RejectReason } from "../../protocol/reject_reason.ts";
import type { StreamShare } from "../batch/batch.ts";
import type { IngestCounters } from "../counters.ts";

/** Totals of one stream. */
export class StreamProgress {
  /** End offset of what is settled; in the stream's session, if it has one. */
  committed: number;
  #stored = 0;
  #duplicates = 0;
  #rejected = 0;
  readonly #rejections = new Map<RejectReason, number>();

  /** Of a stream that begins at `offset`. */
  constructor(offset: number) {
    this.committed = offset;
  }

  /** Adds a share that is stored, to `counters` too. */
  add(share: StreamShare, counters: IngestCounters): void {
    this.committed = Math.max(this.committed, share.to);
    this.#stored += share.stored;
    this.#duplicates += share.duplicates;
    counters.stored += share.stored;
    counters.duplicates += share.duplicates;
    for (const [reason, packets] of share.rejections ?? []) {
      this.#rejected += packets;
      this.#rejections.set(reason, (this.#rejections.get(reason) ?? 0) + packets);
      counters.rejected.set(reason, counters.rejected.get(reason)! + packets);
    }
  }

  /** The Ack for what is settled. */
  ack(): Ack {
    return {
      ok: true,
      stored: this.#stored,
      duplicates: this.#duplicates,
      rejected: this.#rejected,
      committed: this.committed,
      rejections: Array.from(this.#rejections, ([reason, packets]) => ({ reason, packets })),
    };
  }
}
