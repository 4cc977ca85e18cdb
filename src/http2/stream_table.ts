/**
 * The streams of a connection: which are open, how the last ones ended, and what is sent on them.
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
import { END_STREAM } from "../../tests/http2/raw_connection.ts";

/** What the streams need of their connection. */
export interface TableHost {
  /** Bounds. */
  readonly limits: ConnectionLimits;
  /** Counts of the process. */
  readonly counters: Http2Counters;
  /** A stream was closed. */
  streamClosed(): void;
  /** Something cost work units above the reading of its frame. */
  spendWork(units: number): void;
}

/** See the module. */
export class StreamTable implements StreamHost {
  /** The latest stream that the peer opened. */
  lastStreamId = 0;
  readonly #window: ReceiveWindow;
  readonly #open = new Map<number, Http2Stream>();
  #closed: ClosedStreams | undefined;

  /** An empty table. `settings`: the peer's. */
  constructor(
    readonly host: TableHost,
    readonly writer: FrameWriter,
    readonly budget: AbuseBudget,
    readonly settings: PeerSettings,
  ) {
    this.#window = new ReceiveWindow(host.limits.connectionWindowBytes);
    this.#window.open();
  }

  /** See {@linkcode StreamHost}. */
  get limits(): ConnectionLimits {
    return this.host.limits;
  }

  /** Streams open now. */
  get size(): number {
    return this.#open.size;
  }

  /** See {@linkcode StreamHost}. */
  get initialSendWindowBytes(): number {
    return this.settings.initialWindowBytes;
  }

  /** See {@linkcode StreamHost}. */
  get sendRoomBytes(): number {
    return this.writer.roomBytes;
  }

  /** The open stream of the id. */
  get(streamId: number): Http2Stream | undefined {
    return this.#open.get(streamId);
  }

  /** Adds a stream that the peer opened. */
  add(stream: Http2Stream): void {
    this.#open.set(stream.id, stream);
  }

  /** How a stream ended; undefined where that is not remembered. */
  endingOf(streamId: number): Ending | undefined {
    return this.#closed?.get(streamId);
  }

  /** Remembers that a stream which was never added is over. */
  addClosed(streamId: number, ending: Ending): void {
    (this.#closed ??= new ClosedStreams()).add(streamId, ending);
  }

  /** Throws when the peer has not opened the stream (idle, RFC 9113, 5.1). */
  assertOpened(streamId: number): void {
    if (streamId === 0 || streamId % 2 === 0 || streamId > this.lastStreamId) {
      throw new Http2Error(PROTOCOL_ERROR, `a frame of stream ${streamId}, which was not opened`);
    }
  }

  /** See {@linkcode StreamHost}. */
  sendData(data: Uint8Array, bytes: number): void {
    this.budget.dataSent();
    this.writer.sendData(data, bytes);
  }

  /** See {@linkcode StreamHost}. */
  sendHeaders(streamId: number, fields: Iterable<HeaderField>, endStream: boolean): void {
    const { settings } = this;
    const block = encodeHeaders(fields, settings.announceEmptyTable);
    settings.announceEmptyTable = false;
    this.send(frame(HEADERS, END_HEADERS | (endStream ? END_STREAM : 0), streamId, block));
  }

  /** Sends any other frame. */
  send(frame: Uint8Array): void {
    this.writer.send(frame);
  }

  /** See {@linkcode StreamHost}. */
  waitForSendRoom(stream: Http2Stream): void {
    this.writer.waitForRoom(stream);
  }

  /** See {@linkcode StreamHost}. */
  spendWork(units: number): void {
    this.host.spendWork(units);
  }

  /** Accounts for DATA on the connection; throws when the peer exceeds its window. */
  received(bytes: number): void {
    if (this.#window.received(bytes)) return;
    throw new Http2Error(FLOW_CONTROL_ERROR, "more DATA than the connection's window allows");
  }

  /** See {@linkcode StreamHost}. */
  returnCredit(stream: Http2Stream | undefined, bytes: number, connectionBytes = bytes): void {
    if (stream !== undefined && !stream.closed) this.#return(stream.id, stream.window, bytes);
    this.#return(0, this.#window, connectionBytes);
  }

  #return(streamId: number, window: ReceiveWindow, bytes: number): void {
    const increment = window.consumed(bytes);
    if (increment > 0) this.send(numbersFrame(WINDOW_UPDATE, streamId, increment));
  }

  /** See {@linkcode StreamHost}. */
  resetStream(streamId: number, code: number, provoked: boolean): void {
    this.send(numbersFrame(RST_STREAM, streamId, code));
    if (provoked) {
      this.host.counters.streamsReset++;
      this.budget.streamReset();
    }
    this.#remove(streamId, "resetHere");
  }

  /** See {@linkcode StreamHost}. */
  streamEnded(streamId: number): void {
    this.#remove(streamId, "ended");
  }

  /** The peer reset the stream. */
  resetByPeer(streamId: number): void {
    if (this.#open.has(streamId)) {
      this.budget.streamReset();
      this.#remove(streamId, "resetByPeer");
    } else if (this.#closed?.resetByBoth(streamId) !== true) this.budget.controlFrame();
  }

  /** The peer's SETTINGS_INITIAL_WINDOW_SIZE became greater: whatever waits may be sent. */
  initialWindowChanged(): void {
    const { initialWindowBytes } = this.settings;
    if (initialWindowBytes > MAX_WINDOW_BYTES / 2) {
      for (const { sendWindowDelta } of this.#open.values()) {
        if (initialWindowBytes + sendWindowDelta <= MAX_WINDOW_BYTES) continue;
        throw new Http2Error(
          FLOW_CONTROL_ERROR,
          "SETTINGS_INITIAL_WINDOW_SIZE takes a stream's window above 2^31 - 1",
        );
      }
    }
    this.writer.pumpSoon();
  }

  /** The connection is over: so is each stream. */
  close(): void {
    const streams = [...this.#open.values()];
    this.#open.clear();
    for (const stream of streams) stream.close();
  }

  /** Called every {@linkcode ConnectionLimits.keepaliveTickMs}. */
  tick(): void {
    for (const { reader } of [...this.#open.values()]) reader?.tick(this.limits.minProgressBytes);
  }

  #remove(streamId: number, ending: Ending): void {
    const stream = this.#open.get(streamId);
    this.#open.delete(streamId);
    (this.#closed ??= new ClosedStreams()).add(streamId, ending);
    stream?.close();
    this.host.streamClosed();
  }
}
