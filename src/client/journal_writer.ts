/**
 * Keeps a journal in step with the buffer: writes what was added, and what was settled, one write at a
 * time; what comes during a write goes into the next, all of it together.
 *
 * @module
 */
import type { Journal } from "./journal.ts";
import type { Cursor, PacketBuffer } from "./packet_buffer.ts";

/** What a {@linkcode Saver} works for. */
export interface SaverOptions {
  /** Where to write. */
  readonly journal: Journal;
  /** What to write. All that it holds at first is in the journal. */
  readonly buffer: PacketBuffer;
  /** Called when {@linkcode Saver.saved} has moved. */
  readonly onSaved: () => void;
  /** Called when writing failed, which ends it; returns what those who wait for it are told. */
  readonly onError: (error: unknown) => Error;
}

/** Writes a buffer's packets to a journal. */
export class Saver {
  readonly #options: SaverOptions;
  #saved: Cursor;
  /** Resolved when the next write is done. */
  #next: PromiseWithResolvers<void> | undefined;
  #settledDue = false;
  #rewriteDue = false;
  #writing: Promise<void> | undefined;
  /** An index in the session is the buffer's index plus this. */
  #origin = 0;

  /** Nothing is written before it is asked for. */
  constructor(options: SaverOptions) {
    this.#options = options;
    this.#saved = options.buffer.cursor();
    while (this.#saved.take() !== undefined);
  }

  /** The packets before it are in the file. Not to be moved. */
  get saved(): Cursor {
    return this.#saved;
  }

  /** Packets were added; resolves when they are in the file, rejects if that cannot be done. */
  added(): Promise<void> {
    const { promise } = this.#next ??= Promise.withResolvers();
    this.#write();
    return promise;
  }

  /** Packets were settled. */
  settled(): void {
    this.#settledDue = true;
    this.#write();
  }

  /** The buffer's packets have got other indexes in the session: the file is written anew. */
  renumbered(origin: number): void {
    this.#origin = origin;
    this.#saved = this.#options.buffer.cursor();
    this.#rewriteDue = true;
    this.#write();
  }

  /** Ends the writing, after the write under way, and closes the file; what waits for a write rejects. */
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
    const { journal, buffer, onSaved, onError } = this.#options;
    let next;
    try {
      while (this.#next !== undefined || this.#settledDue || this.#rewriteDue) {
        next = this.#next;
        this.#next = undefined;
        let saved;
        do {
          const settled = buffer.start + this.#origin;
          if (this.#rewriteDue || journal.shouldRewrite(buffer.bytes)) {
            this.#rewriteDue = false;
            await journal.rewrite(settled, this.#batches(buffer.cursor(), this.#saved));
          } else if (this.#settledDue) await journal.appendSettled(settled);
          this.#settledDue = false;
          saved = this.#saved.copy();
          for (const { first, bytes } of this.#batches(saved)) await journal.appendPackets(first, bytes);
          await journal.flush();
        } while (this.#rewriteDue);
        this.#saved = saved;
        next?.resolve();
        onSaved();
      }
    } catch (error) {
      const failure = onError(error);
      next?.reject(failure);
    } finally {
      this.#writing = undefined;
    }
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
