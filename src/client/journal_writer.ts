/**
 * Writes to a journal which packets were added to the buffer, and which are settled. One write at a time: all
 * that comes during a write is coalesced into the next.
 *
 * @module
 */
import type { Journal } from "./journal.ts";
import type { Cursor, PacketBuffer } from "./packet_buffer.ts";

/** What a {@linkcode JournalWriter} reads and writes. */
export interface JournalWriterOptions {
  /** Where to write. */
  readonly journal: Journal;
  /** The packets. Those that it has at the start are in the journal already. */
  readonly buffer: PacketBuffer;
  /** The claim that is in the journal, if any. */
  readonly claim: string | undefined;
  /** Called when {@linkcode JournalWriter.written} has moved. */
  readonly onWritten: () => void;
  /** Called when a write failed, which ends the writer; pending calls reject with the result. */
  readonly onError: (error: unknown) => Error;
}

/** Writes a buffer's packets to a journal. */
export class JournalWriter {
  readonly #options: JournalWriterOptions;
  #written: Cursor;
  /** Resolved when the next write is done. */
  #next: PromiseWithResolvers<void> | undefined;
  #settledDue = false;
  #rewriteDue = false;
  /** The claim that is in the file, and the latest. */
  #writtenClaim: string | undefined;
  #claim: string | undefined;
  #writing: Promise<void> | undefined;
  /** An index in the session is the buffer's index plus this. */
  #origin = 0;

  /** Writes nothing before a call of a method. */
  constructor(options: JournalWriterOptions) {
    this.#options = options;
    this.#claim = this.#writtenClaim = options.claim;
    this.#written = options.buffer.cursor();
    while (this.#written.take() !== undefined);
  }

  /** The packets before this cursor are in the file. Do not move it. */
  get written(): Cursor {
    return this.#written;
  }

  /** Writes packets that were added; resolves when they are in the file. */
  added(): Promise<void> {
    const { promise } = this.#next ??= Promise.withResolvers();
    this.#write();
    return promise;
  }

  /** Writes which packets are settled, and the claim under which packets were acknowledged last, if it is known. */
  settled(claim: string | undefined): void {
    this.#claim = claim;
    this.#settledDue = true;
    this.#write();
  }

  /** Rewrites the file: the buffer's packets have new indexes in the session. */
  renumbered(origin: number): void {
    this.#origin = origin;
    this.#written = this.#options.buffer.cursor();
    this.#rewriteDue = true;
    this.#write();
  }

  /** Closes the file after the current write; pending calls reject. */
  async close(reason: Error): Promise<void> {
    this.#next?.reject(reason);
    this.#next = undefined;
    this.#settledDue = this.#rewriteDue = false;
    await this.#writing;
    this.#options.journal.close();
  }

  #write(): void {
    this.#writing ??= this.#writeAll();
  }

  async #writeAll(): Promise<void> {
    const { journal, buffer, onWritten, onError } = this.#options;
    let next;
    try {
      while (this.#next !== undefined || this.#settledDue || this.#rewriteDue) {
        next = this.#next;
        this.#next = undefined;
        let written;
        do {
          const settled = buffer.start + this.#origin;
          if (this.#rewriteDue || journal.shouldRewrite(buffer.keptBytes + buffer.bytes)) {
            this.#rewriteDue = false;
            const batches = this.#batches(buffer.keptCursor(), this.#written);
            this.#writtenClaim = this.#claim;
            await journal.rewrite(settled, batches, this.#writtenClaim);
          } else if (this.#settledDue) await this.#appendSettled(settled);
          this.#settledDue = false;
          written = this.#written.copy();
          for (const { first, bytes } of this.#batches(written)) await journal.appendPackets(first, bytes);
          await journal.flush();
        } while (this.#rewriteDue);
        this.#written = written;
        next?.resolve();
        onWritten();
      }
    } catch (error) {
      const failure = onError(error);
      next?.reject(failure);
    } finally {
      this.#writing = undefined;
    }
  }

  async #appendSettled(settled: number): Promise<void> {
    const { journal } = this.#options;
    if (this.#claim !== undefined && this.#claim !== this.#writtenClaim) {
      this.#writtenClaim = this.#claim;
      await journal.appendClaim(this.#writtenClaim);
    }
    await journal.appendSettled(settled);
  }

  /** The packets from `cursor` on, up to `limit`, under their indexes in the session. */
  #batches(cursor: Cursor, limit?: Cursor): { first: number; bytes: Uint8Array }[] {
    const batches = [];
    for (;;) {
      const first = cursor.index + this.#origin;
      const bytes = cursor.take(limit);
      if (bytes === undefined) return batches;
      batches.push({ first, bytes });
    }
  }
}
