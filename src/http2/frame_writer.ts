/**
 * The sending side of a connection. Frames queued in one tick are flushed in one write; DATA keeps to the connection's
 * send window; a peer that leaves too much unread is reported.
 *
 * @module
 */
import { nextTick } from "node:process";
import type { Duplex } from "node:stream";

import { concat, INITIAL_WINDOW_BYTES, MAX_WINDOW_BYTES } from "./frames.ts";
import type { ConnectionLimits } from "./limits.ts";
import type { Http2Stream } from "./stream.ts";

/** The part of a connection that its writer uses. */
export interface WriterHost {
  /** Limits of the connection. */
  readonly limits: ConnectionLimits;
  /** The peer left more than {@linkcode ConnectionLimits.maxUnreadBytes} unread. */
  peerNotReading(): void;
}

/** Writes the frames of one connection. */
export class FrameWriter {
  #sendWindowBytes: number = INITIAL_WINDOW_BYTES;
  /** Frames queued for the end of the tick. */
  #out: Uint8Array[] | undefined;
  /** Streams whose DATA waits for room in the connection's window or in the socket. */
  #blocked: Set<Http2Stream> | undefined;
  #pumpDue = false;
  #finished = false;

  /** Writes to `socket`. */
  constructor(readonly socket: Duplex, readonly host: WriterHost) {}

  /** Bytes of DATA that may be sent now: 0 while the socket's buffer is full. */
  get roomBytes(): number {
    return this.socket.writableNeedDrain ? 0 : this.#sendWindowBytes;
  }

  /** Queues a frame for the end of the tick. */
  send(frame: Uint8Array): void {
    if (this.#finished) return;
    if (this.#out !== undefined) this.#out.push(frame);
    else {
      this.#out = [frame];
      nextTick(flush, this);
    }
  }

  /** Queues a DATA frame with `bytes` of data; the caller has checked {@linkcode roomBytes}. */
  sendData(frame: Uint8Array, bytes: number): void {
    this.#sendWindowBytes -= bytes;
    this.send(frame);
  }

  /** Calls {@linkcode Http2Stream.pump} of `stream` when there is room again. */
  waitForRoom(stream: Http2Stream): void {
    (this.#blocked ??= new Set()).add(stream);
  }

  /** WINDOW_UPDATE of the connection; false: its window is above the maximum. */
  increaseWindow(bytes: number): boolean {
    this.#sendWindowBytes += bytes;
    this.pumpSoon();
    return this.#sendWindowBytes <= MAX_WINDOW_BYTES;
  }

  /** Pumps the blocked streams once at the end of the tick, however often it is called. */
  pumpSoon(): void {
    if (this.#blocked === undefined || this.#pumpDue || this.#finished) return;
    this.#pumpDue = true;
    if (this.#out === undefined) {
      this.#out = [];
      nextTick(flush, this);
    }
  }

  /** Flushes the queued frames; later ones are dropped. */
  finish(): void {
    this.#pumpDue = false;
    this.flush();
    this.#finished = true;
  }

  /** Writes the queued frames in one write, or reports a peer that is not reading. */
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
