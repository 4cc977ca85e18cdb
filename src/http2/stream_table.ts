/**
 * The streams of a connection: those that are open, how the last closed ones ended, and their connection-wide windows.
 *
 * @module
 */
import type { AbuseBudget } from "./abuse_budget.ts";
import { ClosedStreams, type Ending } from "./closed_streams.ts";
import type { Http2Counters } from "./counters.ts";
import { ReceiveWindow } from "./flow_control.ts";
import type { FrameWriter } from "./frame_writer.ts";
import {
  END_HEADERS,
  END_STREAM,
  FLOW_CONTROL_ERROR,
  frame,
  HEADERS,
  Http2Error,
  MAX_WINDOW_BYTES,
  numbersFrame,
  PROTOCOL_ERROR,
  RST_STREAM,
  WINDOW_UPDATE,
} from "./frames.ts";
import { encodeHeaders } from "./hpack/encoder.ts";
import type { HeaderField } from "./hpack/tables.ts";
import type { ConnectionLimits } from "./limits.ts";
import type { PeerSettings } from "./peer_settings.ts";
import type { Http2Stream, StreamHost } from "./stream.ts";

/** The part of a connection that its stream table uses. */
export interface TableHost {
  /** Limits of the connection. */
  readonly limits: ConnectionLimits;
  /** Counters of the process. */
  readonly counters: Http2Counters;
  /** A stream was removed. */
  streamClosed(): void;
  /** Charges work units beyond those of reading a frame. */
  spendWork(units: number): void;
}

/** Open and recently closed streams; sends what they send, and applies the connection's receive window. */
export class StreamTable implements StreamHost {
  /** Id of the last stream that the peer opened, accepted or not. */
  lastStreamId = 0;
  readonly #window: ReceiveWindow;
  readonly #open = new Map<number, Http2Stream>();
  #closed: ClosedStreams | undefined;

  /** `settings`: those of the peer. */
  constructor(
    readonly host: TableHost,
    readonly writer: FrameWriter,
    readonly budget: AbuseBudget,
    readonly settings: PeerSettings,
  ) {
    this.#window = new ReceiveWindow(host.limits.connectionWindowBytes);
    this.#window.open();
  }

  /** Limits of the connection. */
  get limits(): ConnectionLimits {
    return this.host.limits;
  }

  /** Number of open streams. */
  get size(): number {
    return this.#open.size;
  }

  /** The peer's SETTINGS_INITIAL_WINDOW_SIZE, bytes. */
  get initialSendWindowBytes(): number {
    return this.settings.initialWindowBytes;
  }

  /** Room in the connection's send window and its socket, bytes of DATA. */
  get sendRoomBytes(): number {
    return this.writer.roomBytes;
  }

  /** The open stream with this id. */
  get(streamId: number): Http2Stream | undefined {
    return this.#open.get(streamId);
  }

  /** Adds a stream that the peer opened. */
  add(stream: Http2Stream): void {
    this.#open.set(stream.id, stream);
  }

  /** How a stream ended; undefined when that is not kept (any more). */
  endingOf(streamId: number): Ending | undefined {
    return this.#closed?.get(streamId);
  }

  /** Stores how a stream ended: one that is removed, or was refused or answered without being added. */
  addClosed(streamId: number, ending: Ending): void {
    (this.#closed ??= new ClosedStreams()).add(streamId, ending);
  }

  /** Throws {@linkcode Http2Error} when the stream is idle: the peer has not opened it (RFC 9113, 5.1). */
  assertOpened(streamId: number): void {
    if (streamId === 0 || streamId % 2 === 0 || streamId > this.lastStreamId) {
      throw new Http2Error(PROTOCOL_ERROR, `a frame of stream ${streamId}, which is idle`);
    }
  }

  /** Sends a DATA frame with `bytes` of data, and allows the control frames that it justifies. */
  sendData(data: Uint8Array, bytes: number): void {
    this.budget.dataSent();
    this.writer.sendData(data, bytes);
  }

  /** Sends a header block in one HEADERS frame. */
  sendHeaders(streamId: number, fields: Iterable<HeaderField>, endStream: boolean): void {
    const { settings } = this;
    const block = encodeHeaders(fields, settings.announceEmptyTable);
    settings.announceEmptyTable = false;
    this.send(frame(HEADERS, END_HEADERS | (endStream ? END_STREAM : 0), streamId, block));
  }

  /** Sends a frame other than DATA. */
  send(frame: Uint8Array): void {
    this.writer.send(frame);
  }

  /** Calls {@linkcode Http2Stream.pump} of `stream` when the connection has room again. */
  waitForSendRoom(stream: Http2Stream): void {
    this.writer.waitForRoom(stream);
  }

  /** Charges work units beyond those of reading a frame. */
  spendWork(units: number): void {
    this.host.spendWork(units);
  }

  /** Accounts for received DATA on the connection; throws {@linkcode Http2Error} when its window is exceeded. */
  received(bytes: number): void {
    if (this.#window.received(bytes)) return;
    throw new Http2Error(FLOW_CONTROL_ERROR, "more DATA than the connection's window allows");
  }

  /** Returns credit for consumed DATA to the stream's window, if it is open, and to the connection's. */
  returnCredit(stream: Http2Stream | undefined, bytes: number, connectionBytes = bytes): void {
    if (stream !== undefined && !stream.closed) this.#return(stream.id, stream.window, bytes);
    this.#return(0, this.#window, connectionBytes);
  }

  #return(streamId: number, window: ReceiveWindow, bytes: number): void {
    const increment = window.consumed(bytes);
    if (increment > 0) this.send(numbersFrame(WINDOW_UPDATE, streamId, increment));
  }

  /** Sends RST_STREAM, closes and removes the stream. `provoked` ones are counted and charged to the reset budget. */
  resetStream(streamId: number, code: number, provoked: boolean): void {
    this.send(numbersFrame(RST_STREAM, streamId, code));
    if (provoked) {
      this.host.counters.streamsReset++;
      this.budget.streamReset();
    }
    this.#remove(streamId, "resetHere");
  }

  /** Both sides ended the stream: removes it. */
  streamEnded(streamId: number): void {
    this.#remove(streamId, "ended");
  }

  /** RST_STREAM of the peer. */
  resetByPeer(streamId: number): void {
    if (this.#open.has(streamId)) {
      this.budget.streamReset();
      this.#remove(streamId, "resetByPeer");
    } else if (this.#closed?.resetByBoth(streamId) !== true) this.budget.controlFrame();
  }

  /** The peer's SETTINGS_INITIAL_WINDOW_SIZE changed: throws when a window exceeds the maximum, and pumps blocked streams. */
  initialWindowChanged(): void {
    const { initialWindowBytes } = this.settings;
    if (initialWindowBytes > MAX_WINDOW_BYTES / 2) {
      for (const { sendWindowDelta } of this.#open.values()) {
        if (initialWindowBytes + sendWindowDelta <= MAX_WINDOW_BYTES) continue;
        throw new Http2Error(
          FLOW_CONTROL_ERROR,
          "SETTINGS_INITIAL_WINDOW_SIZE raises a stream's window above 2^31 - 1 bytes",
        );
      }
    }
    this.writer.pumpSoon();
  }

  /** The connection is closed: closes all streams. */
  close(): void {
    const streams = [...this.#open.values()];
    this.#open.clear();
    for (const stream of streams) stream.close();
  }

  /** Called every {@linkcode ConnectionLimits.keepaliveTickMs}: each reader checks that its message makes progress. */
  tick(): void {
    for (const { reader } of [...this.#open.values()]) reader?.tick(this.limits.minProgressBytes);
  }

  #remove(streamId: number, ending: Ending): void {
    const stream = this.#open.get(streamId);
    this.#open.delete(streamId);
    this.addClosed(streamId, ending);
    stream?.close();
    this.host.streamClosed();
  }
}
