/**
 * The server's side of one HTTP/2 connection: reading in turns, keepalive, GOAWAY and closing.
 *
 * It replaces `node:http2` for the calls that a native handler serves. `node:http2` allocates an object, copies the data
 * and makes several calls for each DATA frame, which took most of the processor time, and holds 36 KB of memory per
 * connection (plain TCP: 6 KB). Here DATA is read without a copy, and an idle connection is a handful of small objects.
 * Calls without a native handler are bridged to grpc-js (`grpc_js_bridge.ts`).
 *
 * No peer is trusted. A protocol error ends the stream or the connection, as RFC 9113 requires (CONFORMANCE.md lists the
 * rules); whatever costs more to process than to send has a budget ({@linkcode ConnectionLimits}).
 *
 * @module
 */
import type { Duplex } from "node:stream";

import { AbuseBudget } from "./abuse_budget.ts";
import { CallAdmission, type CallHost, type CallOptions } from "./call_admission.ts";
import { controlFrame, type ControlHost } from "./control_frames.ts";
import type { Http2Counters } from "./counters.ts";
import { type ControlFrameHandler, FrameReader } from "./frame_reader.ts";
import { FrameWriter, type WriterHost } from "./frame_writer.ts";
import {
  concat,
  ENHANCE_YOUR_CALM,
  frame,
  FRAME_HEADER_BYTES,
  GOAWAY,
  Http2Error,
  INITIAL_WINDOW_BYTES,
  MAX_CONCURRENT_STREAMS,
  MAX_HEADER_LIST_SIZE,
  NO_ERROR,
  numbersFrame,
  PING,
  settingsFrame,
  WINDOW_UPDATE,
} from "./frames.ts";
import type { PeerAddress } from "./grpc_js_bridge.ts";
import type { ConnectionLimits } from "./limits.ts";
import { PeerSettings } from "./peer_settings.ts";
import { StallDetector } from "./stall_detector.ts";
import { StreamFrames } from "./stream_frames.ts";
import { StreamTable, type TableHost } from "./stream_table.ts";
import type { InterruptedReader, TurnScheduler } from "./turn_scheduler.ts";

/** Shared by the connections of a process. */
export interface ConnectionOptions extends CallOptions {
  /** Shares the event loop between connections that have much to read. */
  readonly turns: TurnScheduler;
  /** Monotonic clock, ms. */
  readonly now: () => number;
}

type State =
  /** Calls are accepted. */
  | "open"
  /** GOAWAY was sent or received: open calls continue, new ones are refused. */
  | "draining"
  /** Received bytes are discarded; sent bytes still have to reach the peer. */
  | "closing"
  /** The socket is gone. */
  | "closed";

/** A received chunk whose bytes from `at` on were not read when the connection had used up its turn. */
interface Unread {
  chunk: Uint8Array;
  at: number;
}

const encoder = new TextEncoder();
const ignoreError = () => {}; // the "close" event follows and cleans up
const keepalivePing = frame(PING, 0, 0, new Uint8Array(8));

/** Reads, serves and closes one accepted socket. */
export class Http2Connection
  implements WriterHost, TableHost, CallHost, ControlFrameHandler, ControlHost, InterruptedReader {
  readonly #writer: FrameWriter;
  readonly #table: StreamTable;
  readonly #calls: CallAdmission;
  readonly #reader: FrameReader;
  /** Created at the first tick with an incomplete frame. */
  #stalls: StallDetector | undefined;
  /** Chunks to read in a later turn; the socket is paused until then. */
  #unread: Unread[] | undefined;
  #state: State = "open";
  #goAwaySent = false;
  /** Whether bytes were received since the last tick. */
  #active = false;
  #idleTicks = 0;
  #drained: PromiseWithResolvers<void> | undefined;
  #lingerTimer: ReturnType<typeof setTimeout> | undefined;

  /** Serves the accepted socket `peer`, and sends the server's preface. */
  constructor(readonly peer: Duplex & PeerAddress, readonly options: ConnectionOptions) {
    const { limits } = options;
    this.#writer = new FrameWriter(peer, this);
    this.#table = new StreamTable(this, this.#writer, new AbuseBudget(options), new PeerSettings());
    this.#calls = new CallAdmission(this, this.#table);
    this.#reader = new FrameReader(new StreamFrames(this.#table, this.#calls), this);
    peer.on("data", (chunk: Uint8Array) => this.#receive(chunk));
    peer.on("drain", () => this.#writer.pumpSoon());
    peer.on("error", ignoreError);
    peer.on("close", () => this.#closed());
    peer.write(serverPreface(limits));
  }

  /** Limits of this connection. */
  get limits(): ConnectionLimits {
    return this.options.limits;
  }

  /** Counters of the process. */
  get counters(): Http2Counters {
    return this.options.counters;
  }

  /** Whether new calls are refused: GOAWAY was sent or received, or the connection is closed. */
  get draining(): boolean {
    return this.#state !== "open";
  }

  /** Sends GOAWAY and refuses new calls; resolves when the open calls have ended and the connection is closed. */
  goAway(): Promise<void> {
    this.#drained = Promise.withResolvers();
    this.#goAway(NO_ERROR);
    return this.#drained.promise;
  }

  /** Calls open now. */
  get calls(): number {
    return this.#table.size;
  }

  /** Closes the connection after what was sent so far; open calls end with it. */
  finish(): void {
    if (!this.#ended) this.#close();
  }

  /**
   * To be called every {@linkcode ConnectionLimits.keepaliveTickMs}. Sends the keepalive PING; closes the connection after
   * the keepalive timeout, or when an incomplete frame makes too little progress.
   */
  keepaliveTick(): void {
    if (this.#ended) return;
    const { ticksBeforePing, ticksBeforeClose, minProgressBytes } = this.options.limits;
    const { completed, incomplete } = this.#reader;
    if (incomplete) this.#stalls ??= new StallDetector();
    const stalled = this.#stalls?.tick(incomplete ? completed : undefined, minProgressBytes);
    this.#idleTicks = this.#active ? 0 : this.#idleTicks + 1;
    this.#active = false;
    if (this.#unread !== undefined) return;
    if (stalled || this.#idleTicks >= ticksBeforeClose) return this.#cut();
    if (this.#idleTicks === ticksBeforePing) this.#writer.send(keepalivePing);
    this.#table.tick();
  }

  get #ended(): boolean {
    return this.#state === "closing" || this.#state === "closed";
  }

  #receive(chunk: Uint8Array): void {
    this.#active = true;
    this.#stalls?.received(chunk.length);
    if (this.#unread !== undefined) this.#unread.push({ chunk, at: 0 });
    else this.#read({ chunk, at: 0 });
  }

  #read(unread: Unread): void {
    if (this.#ended) return;
    this.#reader.workLeft = this.options.limits.workPerTurn;
    try {
      unread.at = this.#reader.read(unread.chunk, unread.at);
    } catch (error) {
      if (!(error instanceof Http2Error)) throw error;
      return this.#fail(error);
    }
    if (unread.at === unread.chunk.length || this.#ended) return;
    if (this.#unread === undefined) {
      this.#unread = [unread];
      this.peer.pause();
    }
    this.options.turns.defer(this);
  }

  /** Reads the chunks that were left when the last turn was used up; then reads from the socket again. */
  continueReading(): void {
    const first = this.#unread?.[0];
    if (first === undefined) return;
    this.#read(first);
    if (this.#unread === undefined || first.at < first.chunk.length) return;
    this.#unread.shift();
    if (this.#unread.length > 0) return this.options.turns.defer(this);
    this.#unread = undefined;
    this.peer.resume();
  }

  /** Charges work units to the current turn. */
  spendWork(units: number): void {
    this.#reader.workLeft -= units;
  }

  /** A stream was closed: a connection that drains is closed with its last stream. */
  streamClosed(): void {
    if (this.#state === "draining" && this.#table.size === 0) this.#close();
  }

  /** Too many calls were refused: sends GOAWAY, and open calls continue. */
  tooManyRefused(): void {
    this.#goAway(ENHANCE_YOUR_CALM);
  }

  /** Processes a control frame. */
  frame(type: number, flags: number, streamId: number, payload: Uint8Array): void {
    controlFrame(this, this.#table, type, flags, streamId, payload);
  }

  /** GOAWAY was received: closes when the open calls have ended. */
  goAwayReceived(): void {
    this.#drain();
  }

  /** The peer leaves too much unread: closes the connection at once. */
  peerNotReading(): void {
    this.#cut();
  }

  /** Destroys the socket without GOAWAY, which the peer would not read. */
  #cut(): void {
    if (!this.#ended) this.options.counters.connectionsCut++;
    this.peer.destroy();
  }

  /** Connection error: sends GOAWAY with the code and message, and closes. */
  #fail({ code, message }: Http2Error): void {
    this.options.counters.connectionsCut++;
    const goaway = numbersFrame(GOAWAY, 0, this.#table.lastStreamId, code);
    this.#writer.send(
      frame(GOAWAY, 0, 0, concat([goaway.subarray(FRAME_HEADER_BYTES), encoder.encode(message)])),
    );
    this.#close();
  }

  /** Sends GOAWAY with `code`, once, and drains. */
  #goAway(code: number): void {
    if (!this.#goAwaySent && !this.#ended) {
      this.#goAwaySent = true;
      this.#writer.send(numbersFrame(GOAWAY, 0, this.#table.lastStreamId, code));
    }
    this.#drain();
  }

  #drain(): void {
    if (this.#state === "open") this.#state = "draining";
    this.streamClosed();
  }

  /**
   * Flushes queued frames and half-closes the socket. Received bytes are discarded for `lingerMs`: destroying a socket
   * with unread bytes resets it, and the peer may lose the GOAWAY.
   */
  #close(): void {
    this.#state = "closing";
    this.#unread = undefined;
    this.#reader.workLeft = 0;
    this.#writer.finish();
    this.#table.close();
    this.#calls.close();
    this.#drained?.resolve();
    this.peer.resume();
    this.peer.end();
    this.#lingerTimer = setTimeout(() => this.peer.destroy(), this.options.limits.lingerMs);
  }

  #closed(): void {
    this.#state = "closed";
    clearTimeout(this.#lingerTimer);
    this.#unread = undefined;
    this.#table.close();
    this.#calls.close();
    this.#drained?.resolve();
  }
}

/** The server's preface (RFC 9113, 3.4), and the WINDOW_UPDATE that opens the connection's window. */
function serverPreface(limits: ConnectionLimits): Uint8Array {
  const { maxConcurrentStreams, maxHeaderListBytes, connectionWindowBytes } = limits;
  return concat([
    settingsFrame([[MAX_CONCURRENT_STREAMS, maxConcurrentStreams], [
      MAX_HEADER_LIST_SIZE,
      maxHeaderListBytes,
    ]]),
    numbersFrame(WINDOW_UPDATE, 0, connectionWindowBytes - INITIAL_WINDOW_BYTES),
  ]);
}
