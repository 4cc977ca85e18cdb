/**
 * Which acknowledged packets a client keeps, for a store that comes back older than it was.
 *
 * @module
 */
import type { CallStart } from "./call.ts";
import type { KeepAcked } from "./client_options.ts";
import type { PacketBuffer } from "./packet_buffer.ts";

/** Parts of the duration that are distinguished. */
const PARTS = 100;

/** The settled packets of a buffer that are kept, and the claim that proves to the server that they were settled. */
export class KeptPackets {
  readonly #buffer: PacketBuffer;
  readonly #packets: number;
  readonly #bytes: number;
  readonly #durationMs: number;
  /** End indexes of what was settled since a time; the oldest first. */
  readonly #parts: { readonly sinceMs: number; end: number }[] = [];

  /** The claim of the current call, and that of the last one with an Ack. */
  #currentClaim: string | undefined;
  #claim: string | undefined;

  /** `limits` undefined: keeps none. `claim`: of an earlier process. */
  constructor(buffer: PacketBuffer, limits: KeepAcked | undefined, claim: string | undefined, nowMs: number) {
    this.#claim = claim;
    this.#buffer = buffer;
    this.#packets = limits?.packets ?? 100_000;
    this.#bytes = limits === undefined ? 0 : limits.bytes ?? 16 * 1024 * 1024;
    this.#durationMs = limits?.durationMs ?? Infinity;
    this.settled(nowMs);
  }

  /** The claim of the last call with an Ack. */
  get claim(): string | undefined {
    return this.#claim;
  }

  /** Where the next call begins; an index in the session is the buffer's plus `origin`. */
  nextStart(origin: number): CallStart {
    const oldest = this.#bytes > 0 ? this.#buffer.oldest + origin : undefined;
    return { offset: this.#buffer.start + origin, oldest, claim: this.#claim };
  }

  /** A call was opened with this claim. */
  opened(claim: string | undefined): void {
    this.#currentClaim = claim;
  }

  /** Packets of that call are settled. */
  acked(): void {
    this.#claim = this.#currentClaim;
  }

  /** Packets were settled at `nowMs`. */
  settled(nowMs: number): void {
    const { start } = this.#buffer;
    if (this.#durationMs < Infinity) this.#addPart(start, nowMs);
    let first = start - this.#packets;
    while (this.#parts.length > 0 && this.#parts[0]!.sinceMs < nowMs - this.#durationMs) {
      first = Math.max(first, this.#parts.shift()!.end);
    }
    this.#buffer.discard(Math.min(first, start), this.#bytes);
  }

  /** Keeps none of those that were settled so far. */
  clear(): void {
    this.#parts.length = 0;
    this.#buffer.discard(this.#buffer.start, 0);
  }

  #addPart(end: number, nowMs: number): void {
    const last = this.#parts.at(-1);
    if (last !== undefined && nowMs - last.sinceMs < this.#durationMs / PARTS) last.end = end;
    else this.#parts.push({ sinceMs: nowMs, end });
  }
}
