/**
 * What a client writes next: messages that the server accepts, and what stands in for a packet that none of
 * them can hold.
 *
 * @module
 */
import {
  type Cursor,
  Omission,
  omittedPackets,
  type OmittedRange,
  type PacketBuffer,
  within,
} from "./packet_buffer.ts";

/** The packets of a buffer as one call after the other sends them. */
export class Outgoing {
  readonly #buffer: PacketBuffer;
  #unsent: Cursor;
  /** Packets written, and not settled, that others stand in for. */
  #omitted: readonly OmittedRange[] = [];
  /** Largest message that the server accepts, as far as it states that. */
  #maxMessageBytes = Infinity;
  /** Largest message to try: less than the server's when something on the way has refused larger ones. */
  #triedBytes = Infinity;
  #largestWritten = 0;
  #wasRefused = false;

  /** Begins with the oldest packet of `buffer`. */
  constructor(buffer: PacketBuffer) {
    this.#buffer = buffer;
    this.#unsent = buffer.cursor();
  }

  /** Index of the next packet to be written on this call. */
  get index(): number {
    return this.#unsent.index;
  }

  /** A call begins, with the oldest packet of the buffer; its server accepts messages up to `maxMessageBytes`. */
  restart(maxMessageBytes: number): void {
    // What was refused once may be accepted now; if not, it costs a call.
    if (!this.#wasRefused) this.#triedBytes *= 2;
    this.#wasRefused = false;
    this.#maxMessageBytes = maxMessageBytes;
    this.#largestWritten = 0;
    this.#omitted = [];
    this.#unsent = this.#buffer.cursor();
  }

  /** The next `PacketBatch`, of packets before `limit`; undefined if there are none. */
  next(limit: Cursor | undefined): Uint8Array | undefined {
    const from = this.index;
    const bytes = this.#unsent.take(limit, Math.min(this.#maxMessageBytes, this.#triedBytes));
    if (bytes === undefined) return undefined;
    const isTooLarge = bytes.length > this.#maxMessageBytes;
    const omitted = isTooLarge
      ? [{ from, to: this.index, reason: Omission.MESSAGE_TOO_LARGE }]
      : within(this.#buffer.omitted, from, this.index);
    if (omitted.length > 0) this.#omitted = [...this.#omitted, ...omitted];
    const message = isTooLarge ? omittedPackets(1, Omission.MESSAGE_TOO_LARGE) : bytes;
    this.#largestWritten = Math.max(this.#largestWritten, message.length);
    return message;
  }

  /** A message was too large, or too much, for the server or something before it: the next ones are smaller. */
  refused(): void {
    if (this.#largestWritten === 0) return;
    this.#wasRefused = true;
    this.#triedBytes = Math.floor(this.#largestWritten / 2);
  }

  /** Packets from `from` to `to`, of those written on this call, that others stood in for; they are settled. */
  settle(from: number, to: number): OmittedRange[] {
    const settled = within(this.#omitted, from, to);
    if (this.#omitted.length > 0) this.#omitted = within(this.#omitted, to, Infinity);
    return settled;
  }
}
