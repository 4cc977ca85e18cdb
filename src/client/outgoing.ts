/**
 * The messages of a client, in order: no larger than the server accepts, with a placeholder for a packet that
 * does not fit in one.
 *
 * @module
 */
import {
  type Cursor,
  Omission,
  omittedPackets,
  type OmittedRange,
  overlap,
  type PacketBuffer,
} from "./packet_buffer.ts";

/** The packets of a buffer as one call after the other sends them. */
export class Outgoing {
  readonly #buffer: PacketBuffer;
  #unsent: Cursor;
  /** Placeholders written and not settled. */
  #omitted: readonly OmittedRange[] = [];
  /** Largest message that the server accepts, if it sends a limit. */
  #maxMessageBytes = Infinity;
  /** Largest message to try: below the server's limit when a proxy has refused larger ones. */
  #triedBytes = Infinity;
  #largestWritten = 0;
  #wasRefused = false;

  /** Starts at the oldest packet of `buffer`. */
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
    // A message that was refused once may be accepted now; if not, it costs one call.
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
      : overlap(this.#buffer.omitted, from, this.index);
    if (omitted.length > 0) this.#omitted = [...this.#omitted, ...omitted];
    const message = isTooLarge ? omittedPackets(1, Omission.MESSAGE_TOO_LARGE) : bytes;
    this.#largestWritten = Math.max(this.#largestWritten, message.length);
    return message;
  }

  /** A message exceeded a limit of the server, or of a proxy before it: the next ones are smaller. */
  refused(): void {
    if (this.#largestWritten === 0) return;
    this.#wasRefused = true;
    this.#triedBytes = Math.floor(this.#largestWritten / 2);
  }

  /** The packets from `from` to `to` are settled; returns those of them that were sent as placeholders. */
  settle(from: number, to: number): OmittedRange[] {
    const settled = overlap(this.#omitted, from, to);
    if (this.#omitted.length > 0) this.#omitted = overlap(this.#omitted, to, Infinity);
    return settled;
  }
}
