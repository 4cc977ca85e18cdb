/**
 * The sending side of a connection: frames queued in one tick are flushed in one write, DATA keeps to the peer's
 * windows, and a peer that does not read is noticed.
 *
 * @module
 */
import type { Duplex } from "node:stream";
import { nextTick } from "node:process";

import { concat, INITIAL_WINDOW_BYTES, MAX_WINDOW_BYTES } from "./frames.ts";
import type { ConnectionLimits } from "./limits.ts";
import type { Http2Stream } from "./stream.ts";

/** What a writer needs of its connection. */
export interface WriterHost {
  /** Bounds of the connection. */
  readonly limits: ConnectionLimits;
  /** The peer left more than `maxUnreadBytes` unread. */
  peerNotReading(): void;
}

/** Writes the frames of one connection. */
export class FrameWriter {
  #sendWindowBytes: number = INITIAL_WINDOW_BYTES;
  /** Frames that leave at the end of the tick. */
  #out: Uint8Array[] | undefined;
  /** Streams with DATA that waits for room. */
  #blocked: Set<Http2Stream> | undefined;
  #pumpDue = false;

  /** Writes to `socket`. */
  constructor(readonly socket: Duplex, readonly host: WriterHost) {}

  /** Bytes of DATA that can be sent now. */
  get roomBytes(): number {
    return this.socket.writableNeedDrain ? 0 : this.#sendWindowBytes;
  }

  /** Sends a frame, with all else that is sent in this tick. */
  send(frame: Uint8Array): void {
    if (this.#out !== undefined) this.#out.push(frame);
    else {
      this.#out = [frame];
      nextTick(flush, this);
    }
  }

  /** Sends a DATA frame of `bytes` bytes, whether or not there is room. */
  sendData(frame: Uint8Array, bytes: number): void {
    this.#sendWindowBytes -= bytes;
    this.send(frame);
  }

  /** Pumps `stream` when there is room. */
  waitForRoom(stream: Http2Stream): void {
    (this.#blocked ??= new Set()).add(stream);
  }

  /** The peer raised the connection's window; false: above the maximum. */
  increaseWindow(bytes: number): boolean {
    this.#sendWindowBytes += bytes;
    this.pumpSoon();
    return this.#sendWindowBytes <= MAX_WINDOW_BYTES;
  }

  /** Pumps the blocked streams once at the end of the tick, however often it is called. */
  pumpSoon(): void {
    if (this.#blocked === undefined || this.#pumpDue) return;
    this.#pumpDue = true;
    if (this.#out === undefined) {
      this.#out = [];
      nextTick(flush, this);
    }
  }

  /** Writes what is to be sent. */
  flush(): void {
    if (this.#pumpDue) this.#pump();
    const { socket } = this, out = this.#out;
    this.#out = undefined;
    if (out === undefined || out.length === 0 || !socket.writable) return;
    if (socket.writableLength > this.host.limits.maxUnreadBytes) this.host.peerNotReading();
    else socket.write(out.length === 1 ? out[0]! : concat(out));
  }

  #pump(): void {
    this.#pumpDue = false;
    const blocked = this.#blocked ?? [];
    this.#blocked = undefined;
    for (const stream of blocked) stream.pump();
  }
}

function flush(writer: FrameWriter): void {
  writer.flush();
}
