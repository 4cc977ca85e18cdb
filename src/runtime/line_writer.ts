/**
 * Writes lines to a pipe or file in the background, so that a reader that stops reading blocks nothing.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { setTimeout as delay } from "node:timers/promises";

import { withTimeout } from "./timeout.ts";

/** Bytes of lines that may wait for the reader; further lines are dropped and counted. */
const MAX_PENDING_BYTES = 1 << 20;

/**
 * Longest write: PIPE_BUF of Linux, up to which a write to a pipe is not mixed with those of other processes,
 * here the ingest workers that share standard output. A longer line is a write of its own.
 */
const MAX_WRITE_BYTES = 4096;

/** Wait before a write is repeated that found a non-blocking output full. */
const RETRY_MS = 10;

/** What {@linkcode LineWriter} writes to; `Deno.stdout` is one. */
export interface LineOutput {
  /** Resolves to how many of the bytes were written, at least one. */
  write(bytes: Uint8Array): Promise<number>;
}

/** How much may wait, and what is called about lines that did not fit. */
export interface LineWriterOptions {
  /** Default 1 MiB. */
  readonly maxPendingBytes?: number;
  /** Called with how many lines were dropped since the call before, when there is room for a line again. */
  readonly onDropped?: (lines: number) => void;
}

/** Lines on their way to one output, in order. */
export class LineWriter {
  readonly #output: LineOutput;
  readonly #maxPendingBytes: number;
  readonly #onDropped: (lines: number) => void;
  readonly #encoder = new TextEncoder();
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #writing: Promise<void> | undefined;
  #dropped = 0;
  #unreported = 0;

  /** Writes nothing yet. */
  constructor(
    output: LineOutput,
    { maxPendingBytes = MAX_PENDING_BYTES, onDropped }: LineWriterOptions = {},
  ) {
    this.#output = output;
    this.#maxPendingBytes = maxPendingBytes;
    this.#onDropped = onDropped ?? (() => {});
  }

  /** Lines dropped because too many waited, or because they could not be written. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Takes a line, newline included; returns at once. */
  write(line: string): void {
    const bytes = this.#encoder.encode(line);
    if (this.#pendingBytes + bytes.length > this.#maxPendingBytes) return this.#drop(1);
    this.#pending.push(bytes);
    this.#pendingBytes += bytes.length;
    this.#writing ??= this.#writeAll();
  }

  /** Resolves when every line was written, or after `timeoutMs`. */
  async flush(timeoutMs: number): Promise<void> {
    if (this.#writing === undefined) return;
    await withTimeout(timeoutMs, this.#writing, () => {});
  }

  #drop(lines: number): void {
    this.#dropped += lines;
    this.#unreported += lines;
  }

  async #writeAll(): Promise<void> {
    while (this.#pending.length > 0) {
      const lines = this.#next();
      const bytes = Buffer.concat(lines);
      const written = await this.#writeBytes(bytes);
      this.#pendingBytes -= bytes.length;
      if (!written) this.#drop(lines.length);
      // Only after a write that succeeded: to an output that is closed the report could not be written either.
      else if (this.#unreported > 0 && this.#pendingBytes <= this.#maxPendingBytes / 2) {
        const unreported = this.#unreported;
        this.#unreported = 0;
        this.#onDropped(unreported);
      }
    }
    // In the same turn as the last look at what waits: a line that comes next begins anew.
    this.#writing = undefined;
  }

  /** The next lines, as many as one write may have. */
  #next(): Uint8Array[] {
    let bytes = 0, count = 0;
    for (const line of this.#pending) {
      bytes += line.length;
      if (count > 0 && bytes > MAX_WRITE_BYTES) break;
      count++;
    }
    return this.#pending.splice(0, count);
  }

  async #writeBytes(bytes: Uint8Array): Promise<boolean> {
    for (let at = 0; at < bytes.length;) {
      try {
        at += await this.#output.write(bytes.subarray(at));
      } catch (error) {
        if ((error as { code?: unknown }).code !== "EAGAIN") return false;
        await delay(RETRY_MS);
      }
    }
    return true;
  }
}
