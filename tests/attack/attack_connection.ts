/**
 * The attacker's side of a connection: sends whatever frames it is given as fast as the socket takes them,
 * and counts what the server did about it.
 *
 * @module
 */
import { frame, FrameReader, joined, readHeaders } from "../support/http2_frames.ts";
import {
  DATA,
  END_STREAM,
  GOAWAY,
  HEADERS,
  INITIAL_WINDOW_BYTES,
  INITIAL_WINDOW_SIZE,
  MAX_FRAME_BYTES,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from "../support/http2_numbers.ts";
import type { Attacker } from "./attacker.ts";

const READ_BUFFER_BYTES = 65_536;

/** Longest time of writes without a turn of the event loop. */
const MAX_TURN_MS = 5;

/** One connection of an attack. */
export class AttackConnection implements Disposable {
  /** The grpc-status of calls that have ended, `reset` of those that were reset. */
  readonly outcomes = new Map<number, string>();
  readonly #tcp: Deno.TcpConn;
  /** Resolves when nothing more will be received. */
  readonly #reading: Promise<void>;
  readonly #frames = new FrameReader();
  #windowBytes = INITIAL_WINDOW_BYTES;
  #initialWindowBytes = INITIAL_WINDOW_BYTES;
  /** What may be sent on streams that were given more or have used some. */
  readonly #streamWindows = new Map<number, number>();
  #roomChanged = Promise.withResolvers<void>();
  #over = false;
  #yieldedAtMs = performance.now();

  constructor(readonly attacker: Attacker, tcp: Deno.TcpConn, reads: boolean) {
    this.#tcp = tcp;
    this.#reading = reads ? this.#read() : Promise.resolve();
  }

  /** It can be sent on. */
  get open(): boolean {
    return !this.#over && !this.attacker.over;
  }

  /** Sends bytes; resolves when the socket has taken them, to false when it never will. */
  async send(...parts: readonly Uint8Array[]): Promise<boolean> {
    const bytes = parts.length === 1 ? parts[0]! : joined(...parts);
    try {
      for (let at = 0; at < bytes.length && this.open;) {
        const length = await this.#tcp.write(at === 0 ? bytes : bytes.subarray(at));
        at += length;
        this.attacker.bytesSent += length;
      }
      // Writes that succeed at once leave no turn to what is received; nor does setImmediate, in Deno 2.9.
      if (performance.now() - this.#yieldedAtMs > MAX_TURN_MS) {
        await new Promise((resolve) => setTimeout(resolve, 0));
        this.#yieldedAtMs = performance.now();
      }
    } catch {
      // A GOAWAY may stand before the end.
      await this.#reading;
      this.#lost();
    }
    return this.open;
  }

  /** Sends the same bytes again and again until the connection or the attack is over. */
  async flood(bytes: Uint8Array): Promise<void> {
    while (await this.send(bytes));
  }

  /** Sends DATA of a stream as the windows allow, in frames of 16 KiB or less; false: it cannot be sent. */
  async data(streamId: number, bytes: Uint8Array, flags = 0): Promise<boolean> {
    for (let at = 0; at < bytes.length || at === 0;) {
      const left = bytes.length - at;
      const length = Math.min(left, this.room(streamId), MAX_FRAME_BYTES);
      if (length <= 0 && left > 0) {
        if (!this.open || this.outcomes.has(streamId)) return false;
        await this.#roomChanged.promise;
        continue;
      }
      this.use(streamId, length);
      const isLast = length === left;
      const part = bytes.subarray(at, at + length);
      if (!await this.send(frame(DATA, isLast ? flags : 0, streamId, part))) return false;
      if (isLast) return true;
      at += length;
    }
    return true;
  }

  /** Bytes of DATA that may be sent on a stream now. */
  room(streamId: number): number {
    return Math.min(this.#windowBytes, this.#streamWindows.get(streamId) ?? this.#initialWindowBytes);
  }

  /** Counts bytes of DATA that are about to be sent. */
  use(streamId: number, bytes: number): void {
    this.#windowBytes -= bytes;
    this.#widen(streamId, -bytes);
  }

  /** Resolves when there may be more room, or none ever. */
  roomChanged(): Promise<void> {
    return this.#roomChanged.promise;
  }

  /** Closes it, without GOAWAY. */
  [Symbol.dispose](): void {
    this.#close(false);
  }

  async #read(): Promise<void> {
    const buffer = new Uint8Array(READ_BUFFER_BYTES);
    try {
      for (;;) {
        const length = await this.#tcp.read(buffer);
        if (length === null) break;
        this.attacker.bytesReceived += length;
        this.#frames.read(buffer.subarray(0, length), (...frame) => this.#take(...frame));
      }
    } catch {
      // It was reset.
    } finally {
      this.#lost();
    }
  }

  #take(type: number, flags: number, streamId: number, payload: Uint8Array): void {
    const { attacker } = this;
    const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
    switch (type) {
      case GOAWAY:
        return count(attacker.goaway, String(view.getUint32(4)));
      case RST_STREAM:
        count(attacker.resets, String(view.getUint32(0)));
        return this.#ended(streamId, "reset");
      case HEADERS: {
        if ((flags & END_STREAM) === 0) return;
        const status = readHeaders(payload).get("grpc-status") ?? "none";
        count(attacker.statuses, status);
        return this.#ended(streamId, status);
      }
      case SETTINGS:
        for (let at = 0; at + 6 <= payload.length; at += 6) {
          if (view.getUint16(at) !== INITIAL_WINDOW_SIZE) continue;
          const more = view.getUint32(at + 2) - this.#initialWindowBytes;
          for (const stream of this.#streamWindows.keys()) this.#widen(stream, more);
          this.#initialWindowBytes += more;
        }
        return this.#wake();
      case WINDOW_UPDATE:
        if (streamId === 0) this.#windowBytes += view.getUint32(0);
        else this.#widen(streamId, view.getUint32(0));
        return this.#wake();
    }
  }

  #ended(streamId: number, outcome: string): void {
    if (!this.outcomes.has(streamId)) this.outcomes.set(streamId, outcome);
    this.#streamWindows.delete(streamId);
    this.#wake();
  }

  #widen(streamId: number, bytes: number): void {
    if (this.outcomes.has(streamId)) return;
    this.#streamWindows.set(
      streamId,
      (this.#streamWindows.get(streamId) ?? this.#initialWindowBytes) + bytes,
    );
  }

  #wake(): void {
    this.#roomChanged.resolve();
    this.#roomChanged = Promise.withResolvers();
  }

  #lost(): void {
    this.#close(true);
  }

  #close(byServer: boolean): void {
    if (this.#over) return;
    this.#over = true;
    this.attacker.release(this, byServer);
    this.#wake();
    try {
      this.#tcp.close();
    } catch {
      // It was closed by the failure.
    }
  }
}

function count(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
