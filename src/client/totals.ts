/**
 * The results of a client's packets, over all its calls.
 *
 * @module
 */
import type { Ack } from "../protocol/messages.ts";
import { RejectReason } from "../protocol/reject_reason.ts";
import { Omission, type OmittedRange } from "./packet_buffer.ts";

/** Packets rejected for one reason. */
export interface Rejection {
  /**
   * Name of a `RejectReason` of the proto, such as `DEVICE_ID_EMPTY`; or, for packets that the client could
   * not send, `MESSAGE_TOO_LARGE` (larger than the messages that the server accepts) or `DAMAGED_IN_FILE`.
   */
  readonly reason: string;
  /** How many. */
  readonly packets: number;
}

/** The results of a client's packets, over all its connections. */
export interface Totals {
  /** Passed to `send`, or found in the file; with `refilled` the sum of the four below. */
  readonly accepted: number;
  /** Counted. */
  readonly stored: number;
  /** Refused for one of {@linkcode rejections}; never sent again. */
  readonly rejected: number;
  /**
   * Stored or rejected, but the Ack with the result was lost with a connection: on reconnecting, Tally sends
   * only how many packets are settled.
   */
  readonly settledUnknown: number;
  /** Not settled yet. */
  readonly pending: number;
  /** The rejected packets by reason. */
  readonly rejections: readonly Rejection[];
  /** Index in the session of the first packet that is not settled. */
  readonly committed: number;
  /**
   * Settled packets that the store did not hold any more, and that were sent again, as they were kept: each has two
   * results in the sums above, or is pending. Only with {@linkcode TelemetryClientOptions.keepAcked}.
   */
  readonly refilled: number;
  /** Acknowledged packets that the store does not hold any more, and that could not be sent again. */
  readonly lost: number;
}

/** Sums the Acks of one call after the other. */
export class AckCounter {
  /** See {@linkcode Totals}. */
  stored = 0;
  /** See {@linkcode Totals}. */
  rejected = 0;
  /** See {@linkcode Totals}. */
  settledUnknown = 0;
  /** See {@linkcode Totals}. */
  refilled = 0;
  /** See {@linkcode Totals}. */
  lost = 0;
  readonly #rejections = new Map<string, number>();
  /** The last Ack of the call: each has the results of all packets of its call. */
  #last: Ack | undefined;

  /** See {@linkcode Totals}. */
  get rejections(): Rejection[] {
    return Array.from(this.#rejections, ([reason, packets]) => ({ reason, packets }));
  }

  /** The sums, with what the caller's buffer has. */
  totals(accepted: number, pending: number, committed: number): Totals {
    const { stored, rejected, settledUnknown, rejections, refilled, lost } = this;
    return { accepted, stored, rejected, settledUnknown, pending, rejections, committed, refilled, lost };
  }

  /** The next Ack is the first of its call. */
  newCall(): void {
    this.#last = undefined;
  }

  /** Adds what is new in `ack`; of it, `omitted` were sent as placeholders. Returns the new rejections. */
  add(ack: Ack, omitted: readonly OmittedRange[]): Rejection[] {
    const last = this.#last;
    this.#last = ack;
    this.stored += ack.stored - (last?.stored ?? 0);
    const added = this.#addOmitted(omitted);
    // A placeholder has no device_id, and is rejected for that.
    const placeholders = countOf(omitted);
    this.rejected += ack.rejected - (last?.rejected ?? 0) - placeholders;
    for (const { reason: code, packets } of ack.rejections) {
      let count = packets - (last?.rejections.find(({ reason }) => reason === code)?.packets ?? 0);
      if (code === RejectReason.DEVICE_ID_EMPTY) count -= placeholders;
      if (count > 0) added.push(this.#reject(RejectReason[code] ?? `REASON_${code}`, count));
    }
    return added;
  }

  /**
   * Adds packets that are settled without an Ack; of them, `omitted` were sent as placeholders. Returns the
   * rejections among them.
   */
  addSettledUnknown(packets: number, omitted: readonly OmittedRange[]): Rejection[] {
    this.settledUnknown += packets - countOf(omitted);
    return this.#addOmitted(omitted);
  }

  #addOmitted(omitted: readonly OmittedRange[]): Rejection[] {
    this.rejected += countOf(omitted);
    return omitted.map(({ reason, from, to }) => this.#reject(Omission[reason]!, to - from));
  }

  #reject(reason: string, packets: number): Rejection {
    this.#rejections.set(reason, (this.#rejections.get(reason) ?? 0) + packets);
    return { reason, packets };
  }
}

function countOf(ranges: readonly OmittedRange[]): number {
  return ranges.reduce((sum, { from, to }) => sum + to - from, 0);
}
