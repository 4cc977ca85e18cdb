/**
 * One HTTP/2 connection of a peer, the server's side of it: reading in turns, keepalive, and how it ends.
 *
 * Our own, and not `node:http2`'s, for the calls that are served in this process: that makes an object, a copy and
 * several calls of each DATA frame, which was most of all the time spent, and holds 36 KB of memory per connection
 * (plain TCP: 6 KB). Here the DATA of a stream is read where it lies, and an idle connection is a handful of small
 * objects. Calls without a native handler are bridged to grpc-js: see `grpc_js_bridge.ts`.
 *
 * A stranger may send anything. What breaks HTTP/2's rules ends the stream or the connection, as RFC 9113 has it
 * (CONFORMANCE.md lists the rules); what costs more to answer than to send has a budget ({@linkcode ConnectionLimits}).
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
import type { Interrupted, TurnScheduler } from "./turn_scheduler.ts";

/** What the connections of a process share. */
export interface ConnectionOptions extends CallOptions {
  /** Takes turns with those that have much to read. */
  readonly turns: TurnScheduler;
  /** Monotonic clock, ms. */
  readonly now: () => number;
}

type State =
  /** Calls are accepted. */
  | "open"
  /** GOAWAY was sent or received: open calls go on, no more are accepted. */
  | "draining"
  /** Nothing is read any more; what was sent is still to reach the peer. */
  | "closing"
  /** The socket is gone. */
  | "closed";

/** What was received and not read when the connection had used up its turn. */
interface Unread {
  chunk: Uint8Array;
  at: number;
}

const encoder = new TextEncoder();
const ignoreError = () => {}; // "close" follows, and does all there is to do
const keepalivePing = frame(PING, 0, 0, new Uint8Array(8));

/** A connection. */
export class Http2Connection
  implements WriterHost, TableHost, CallHost, ControlFrameHandler, ControlHost, Interrupted {
  readonly #writer: FrameWriter;
  readonly #table: StreamTable;
  readonly #calls: CallAdmission;
  readonly #reader: FrameReader;
  /** Made when something is incomplete at a tick. */
  #stalls: StallDetector | undefined;
  /** What is read in a later turn; the socket is paused meanwhile. */
  #unread: Unread[] | undefined;
  #state: State = "open";
  #goAwaySent = false;
  #heard = false;
  #silentTicks = 0;
  #drained: PromiseWithResolvers<void> | undefined;
  #lingerTimer: ReturnType<typeof setTimeout> | undefined;

  /** Serves `socket`, which was accepted just now. */
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

  /** See {@linkcode TableHost}. */
  get limits(): ConnectionLimits {
    return this.options.limits;
  }

  /** See {@linkcode TableHost}. */
  get counters(): Http2Counters {
    return this.options.counters;
  }

  /** See {@linkcode CallHost}. */
  get draining(): boolean {
    return this.#state !== "open";
  }

  /**
   * Accepts no more calls, and sends GOAWAY; closes when those that are open have ended, and then
   * resolves.
   */
  goAway(): Promise<void> {
    this.#drained = Promise.withResolvers();
    this.#goAway(NO_ERROR);
    return this.#drained.promise;
  }

  /** To be called every {@linkcode ConnectionLimits.keepaliveTickMs}: closes what is silent or makes no progress. */
  keepaliveTick(): void {
    if (this.#over) return;
    const { ticksBeforePing, ticksBeforeClose, minProgressBytes } = this.options.limits;
    const { completed, incomplete } = this.#reader;
    if (incomplete) this.#stalls ??= new StallDetector();
    const stalled = this.#stalls?.tick(incomplete ? completed : undefined, minProgressBytes);
    this.#silentTicks = this.#heard ? 0 : this.#silentTicks + 1;
    this.#heard = false;
    if (this.#unread !== undefined) return;
    if (stalled || this.#silentTicks >= ticksBeforeClose) return this.#cut();
    if (this.#silentTicks === ticksBeforePing) this.#writer.send(keepalivePing);
    this.#table.tick();
  }

  get #over(): boolean {
    return this.#state === "closing" || this.#state === "closed";
  }

  #receive(chunk: Uint8Array): void {
    this.#heard = true;
    this.#stalls?.received(chunk.length);
    if (this.#unread !== undefined) this.#unread.push({ chunk, at: 0 });
    else this.#read({ chunk, at: 0 });
  }

  #read(unread: Unread): void {
    if (this.#over) return;
    this.#reader.workLeft = this.options.limits.workPerTurn;
    try {
      unread.at = this.#reader.read(unread.chunk, unread.at);
    } catch (error) {
      if (!(error instanceof Http2Error)) throw error;
      return this.#fail(error);
    }
    if (unread.at === unread.chunk.length || this.#over) return;
    this.options.counters.turnsYielded++;
    if (this.#unread === undefined) {
      this.#unread = [unread];
      this.peer.pause();
    }
    this.options.turns.defer(this);
  }

  /** See {@linkcode Interrupted}. */
  readOn(): void {
    const first = this.#unread?.[0];
    if (first === undefined) return;
    this.#read(first);
    if (this.#unread === undefined || first.at < first.chunk.length) return;
    this.#unread.shift();
    if (this.#unread.length > 0) return this.options.turns.defer(this);
    this.#unread = undefined;
    this.peer.resume();
  }

  /** See {@linkcode TableHost}. */
  spendWork(units: number): void {
    this.#reader.workLeft -= units;
  }

  /** See {@linkcode TableHost}. */
  streamClosed(): void {
    if (this.#state === "draining" && this.#table.size === 0) this.#close();
  }

  /** See {@linkcode CallHost}. */
  refuseMore(): void {
    this.#goAway(ENHANCE_YOUR_CALM);
  }

  /** See {@linkcode ControlFrameHandler}. */
  frame(type: number, flags: number, streamId: number, payload: Uint8Array): void {
    controlFrame(this, this.#table, type, flags, streamId, payload);
  }

  /** See {@linkcode ControlHost}. */
  peerGoesAway(): void {
    this.#drain();
  }

  /** See {@linkcode WriterHost}. */
  peerNotReading(): void {
    this.#cut();
  }

  /** Destroys the socket without GOAWAY; the peer is not reading. */
  #cut(): void {
    if (!this.#over) this.options.counters.connectionsCut++;
    this.peer.destroy();
  }

  /** Sends GOAWAY with the error, and closes. */
  #fail({ code, message }: Http2Error): void {
    this.options.counters.connectionsCut++;
    const goaway = numbersFrame(GOAWAY, 0, this.#table.lastStreamId, code);
    this.#writer.send(
      frame(GOAWAY, 0, 0, concat([goaway.subarray(FRAME_HEADER_BYTES), encoder.encode(message)])),
    );
    this.#close();
  }

  /** Accepts no more calls, and sends why. */
  #goAway(code: number): void {
    if (!this.#goAwaySent && !this.#over) {
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
   * Nothing more is read or, after what is queued, sent. What still comes is discarded for a while: a socket that is
   * destroyed with unread bytes is reset, and the peer may lose the GOAWAY.
   */
  #close(): void {
    this.#state = "closing";
    this.#unread = undefined;
    this.#reader.workLeft = 0;
    this.#writer.flush();
    this.#table.close();
    this.#calls.close();
    this.#drained?.resolve();
    this.peer.resume();
    this.peer.end();
    this.#lingerTimer = setTimeout(() => this.peer.destroy(), this.options.limits.lingerMs);
  }

  /** The socket is gone. */
  #closed(): void {
    this.#state = "closed";
    clearTimeout(this.#lingerTimer);
    this.#unread = undefined;
    this.#table.close();
    this.#calls.close();
    this.#drained?.resolve();
  }
}

/** What a server sends first (RFC 9113, 3.4), and the connection's window with it. */
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
