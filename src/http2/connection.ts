/**
 * One HTTP/2 connection of a device.
 *
 * Our own, and not `node:http2`'s, for what there is most of: telemetry. That makes an object, a copy and
 * several calls of each DATA frame, which was most of all the time spent, and holds 36 KB of memory per
 * connection (plain TCP: 6 KB). Here the DATA of a stream is read where it lies, and an idle connection is a
 * handful of small objects. The calls that nobody here wants (health checks, compressed messages) are handed
 * to grpc-js with the frames that belong to them: see `grpc_js_bridge.ts`.
 *
 * A stranger may send anything. What is not HTTP/2 ends the connection with GOAWAY, as RFC 9113 has it;
 * what costs more to answer than to send is bounded by the constants below.
 *
 * @module
 */
import type { Socket } from "node:net";
import { nextTick } from "node:process";

import type { IngestCounters } from "../ingest/counters.ts";
import { GrpcJsStreams, type Inject } from "./grpc_js_bridge.ts";
import { HeaderBlockError, HeaderDecoder, type HeaderField } from "./hpack.ts";
import {
  ACK,
  COMPRESSION_ERROR,
  DATA,
  ENHANCE_YOUR_CALM,
  FLOW_CONTROL_ERROR,
  frame,
  FRAME_HEADER_BYTES,
  FRAME_SIZE_ERROR,
  GOAWAY,
  HEADER_TABLE_SIZE,
  Http2Error,
  INITIAL_WINDOW_BYTES,
  INITIAL_WINDOW_SIZE,
  joined,
  MAX_CONCURRENT_STREAMS,
  MAX_HEADER_LIST_SIZE,
  MAX_WINDOW_BYTES,
  mustBeWindow,
  NO_ERROR,
  numbersFrame,
  PING,
  PRIORITY,
  PROTOCOL_ERROR,
  PUSH_PROMISE,
  readUint32,
  ReceiveWindow,
  REFUSED_STREAM,
  RST_STREAM,
  SETTINGS,
  settingsFrame,
  WINDOW_UPDATE,
} from "./frames.ts";
import { type FrameTaker, Http2Reader } from "./frame_reader.ts";
import { Http2Stream } from "./stream.ts";

/** Bytes that may be under way on a connection: more than on a stream, lest one that waits hold up the others. */
const CONNECTION_WINDOW_BYTES = 1 << 20;

/** Streams a device may have open on one connection; a gateway may want some. */
const MAX_STREAMS = 1000;

/** Size of a call's headers, each name and value and 32 bytes (RFC 9113, 6.5.2). */
const MAX_HEADER_BYTES = 16_384;

/** What may wait for a device that asks and does not read the answers, before it is cut off; Acks stop long before. */
const MAX_UNREAD_BYTES = 1 << 20;

/** Calls a device may take back: many at once, and then some at every look ({@linkcode Http2Connection.check}). */
const MAX_RESETS = 1000, RESETS_PER_CHECK = 300;

/** Looks at a silent connection after which it is asked for a sign of life, and after which it is cut off. */
const CHECKS_BEFORE_PING = 3, CHECKS_BEFORE_CUT = 4;

const tooMuch = "more DATA than the window allows";

const encoder = new TextEncoder();

const greeting = joined(
  settingsFrame([[MAX_CONCURRENT_STREAMS, MAX_STREAMS], [MAX_HEADER_LIST_SIZE, MAX_HEADER_BYTES]]),
  numbersFrame(WINDOW_UPDATE, 0, CONNECTION_WINDOW_BYTES - INITIAL_WINDOW_BYTES),
);
const settingsAck = frame(SETTINGS, ACK, 0, new Uint8Array(0));
const aliveQuestion = frame(PING, 0, 0, new Uint8Array(8));

/** Decides by its headers whether a call is taken here; if so, returns who takes the stream. */
export type Accept = (headers: readonly HeaderField[]) => ((stream: Http2Stream) => void) | undefined;

/** A connection. */
export class Http2Connection implements FrameTaker {
  /** What a new stream may be sent. */
  initialSendWindowBytes: number = INITIAL_WINDOW_BYTES;
  /** What the device keeps of headers it was sent (SETTINGS_HEADER_TABLE_SIZE). */
  headerTableBytes = 4096;
  #sendWindowBytes: number = INITIAL_WINDOW_BYTES;
  readonly #window = new ReceiveWindow(CONNECTION_WINDOW_BYTES);
  readonly #reader = new Http2Reader(this);
  readonly #headers = new HeaderDecoder();
  readonly #streams = new Map<number, Http2Stream>();
  /** Made when a call comes that is not taken here. */
  #grpcJs: GrpcJsStreams | undefined;
  /** The latest stream the device has opened. */
  #lastStreamId = 0;
  /** Whose DATA is at hand; undefined: of a stream that is over. */
  #dataStream: Http2Stream | undefined;
  /** Frames that leave at the end of the turn. */
  #out: Uint8Array[] | undefined;
  #heard = true;
  #silentChecks = 0;
  #resetsLeft = MAX_RESETS;
  /** One of the two sides said GOAWAY. */
  #goingAway = false;
  /** Nothing is read any more. */
  #over = false;
  #idle: PromiseWithResolvers<void> | undefined;

  /** Speaks on `socket`, which was accepted just now; `inject` gives a connection to grpc-js. */
  constructor(
    readonly socket: Socket,
    readonly accept: Accept,
    readonly inject: Inject,
    readonly counters: Pick<IngestCounters, "connectionsCut" | "callsRefused">,
  ) {
    this.#window.open();
    socket.on("data", (chunk: Uint8Array) => this.#receive(chunk));
    socket.on("drain", () => this.#pump());
    socket.on("error", () => {}); // "close" follows, and says all there is to do
    socket.on("close", () => this.#closed());
    socket.write(greeting);
  }

  /** Bytes of DATA that can be sent now. */
  get sendRoomBytes(): number {
    return this.socket.writableNeedDrain ? 0 : this.#sendWindowBytes;
  }

  /** Sends a frame, with all else that is sent in this turn. */
  send(bytes: Uint8Array): void {
    if (this.#out !== undefined) this.#out.push(bytes);
    else {
      this.#out = [bytes];
      nextTick(flush, this);
    }
  }

  /** Sends a frame with `bytes` of DATA. */
  sendData(data: Uint8Array, bytes: number): void {
    this.#sendWindowBytes -= bytes;
    this.send(data);
  }

  /** Writes what is to be sent. */
  flush(): void {
    const { socket } = this, out = this.#out;
    this.#out = undefined;
    if (out === undefined || !socket.writable) return;
    if (socket.writableLength > MAX_UNREAD_BYTES) this.#cut();
    else socket.write(out.length === 1 ? out[0]! : joined(...out));
  }

  /** `bytes` of DATA were read, of `stream` if it is open: the device may send as many more. */
  opened(stream: Http2Stream | undefined, bytes: number): void {
    if (stream !== undefined && !stream.closed) this.#open(stream.id, stream.window, bytes);
    this.#open(0, this.#window, bytes);
  }

  #open(streamId: number, window: ReceiveWindow, bytes: number): void {
    const increment = window.read(bytes);
    if (increment > 0) this.send(numbersFrame(WINDOW_UPDATE, streamId, increment));
  }

  /** `stream` is over. */
  forget(stream: Http2Stream): void {
    this.#streams.delete(stream.id);
    this.#hangUpWhenDone();
  }

  /**
   * Takes no more calls, and tells the device; hangs up when those that are open have ended. Resolves when
   * none of the streams that were taken here is open any more.
   */
  goAway(): Promise<void> {
    if (!this.#over) this.send(numbersFrame(GOAWAY, 0, this.#lastStreamId, NO_ERROR));
    this.#goingAway = true;
    this.#idle = Promise.withResolvers();
    this.#hangUpWhenDone();
    return this.#idle.promise;
  }

  /** To be called every ten seconds: looks whether the device is still there. */
  check(): void {
    this.#resetsLeft = Math.min(MAX_RESETS, this.#resetsLeft + RESETS_PER_CHECK);
    this.#silentChecks = this.#heard && !this.#over ? 0 : this.#silentChecks + 1;
    this.#heard = false;
    if (this.#silentChecks === CHECKS_BEFORE_PING) this.send(aliveQuestion);
    else if (this.#silentChecks >= CHECKS_BEFORE_CUT) this.#cut();
  }

  #receive(chunk: Uint8Array): void {
    this.#heard = true;
    if (this.#over) return;
    try {
      this.#reader.read(chunk);
    } catch (error) {
      if (!(error instanceof Http2Error)) throw error;
      this.#refuse(error);
    }
  }

  /** Ends the connection without a word, which would not be read. */
  #cut(): void {
    if (!this.#over) this.counters.connectionsCut++;
    this.socket.destroy();
  }

  /** Says why, and ends the connection. */
  #refuse({ code, message }: Http2Error): void {
    this.counters.connectionsCut++;
    const goaway = numbersFrame(GOAWAY, 0, this.#lastStreamId, code);
    this.send(frame(GOAWAY, 0, 0, joined(goaway.subarray(FRAME_HEADER_BYTES), encoder.encode(message))));
    this.#end();
    this.socket.destroySoon();
  }

  /** Nothing more is read or, after this, sent. */
  #end(): void {
    this.#over = true;
    this.flush();
    this.#closeStreams();
  }

  #hangUpWhenDone(): void {
    if (!this.#goingAway || this.#streams.size > 0) return;
    this.#idle?.resolve();
    if (this.#grpcJs !== undefined || this.#over) return;
    this.#end();
    this.socket.end();
  }

  /** The socket is gone. */
  #closed(): void {
    this.#over = true;
    this.#goingAway = true;
    this.#closeStreams();
    this.#grpcJs?.destroy();
    this.#idle?.resolve();
  }

  #closeStreams(): void {
    for (const stream of [...this.#streams.values()]) stream.close();
  }

  /** There is room to send. */
  #pump(): void {
    for (const stream of [...this.#streams.values()]) stream.pump();
    this.#grpcJs?.goOn();
  }

  /** See {@linkcode FrameTaker}. */
  wantsWhole(streamId: number): boolean {
    return this.#grpcJs !== undefined && this.#grpcJs.has(streamId);
  }

  /** See {@linkcode FrameTaker}. */
  startData(streamId: number, payloadBytes: number, paddingBytes: number): void {
    this.#mustBeOpened(streamId);
    const stream = this.#dataStream = this.#streams.get(streamId);
    if (stream?.window.received(payloadBytes) === false) throw new Http2Error(FLOW_CONTROL_ERROR, tooMuch);
    this.#received(payloadBytes);
    // Of a stream that is over, all is of no use: the device could not know yet.
    const uselessBytes = stream === undefined ? payloadBytes : paddingBytes;
    if (uselessBytes > 0) this.opened(stream, uselessBytes);
  }

  #received(payloadBytes: number): void {
    if (!this.#window.received(payloadBytes)) throw new Http2Error(FLOW_CONTROL_ERROR, tooMuch);
  }

  #mustBeOpened(streamId: number): void {
    if (streamId === 0 || streamId > this.#lastStreamId) {
      throw new Http2Error(PROTOCOL_ERROR, `a frame of stream ${streamId}, which was not opened`);
    }
  }

  /** See {@linkcode FrameTaker}. */
  data(bytes: Uint8Array, start: number, end: number): void {
    this.#dataStream?.take(bytes, start, end);
  }

  /** See {@linkcode FrameTaker}. */
  endData(endStream: boolean): void {
    if (endStream) this.#dataStream?.remoteEnd();
    this.#dataStream = undefined;
  }

  /** See {@linkcode FrameTaker}. */
  headers(streamId: number, endStream: boolean, block: Uint8Array): void {
    const fields = this.#decode(block);
    const stream = this.#streams.get(streamId), open = stream !== undefined || this.wantsWhole(streamId);
    if (open && !endStream) throw new Http2Error(PROTOCOL_ERROR, "headers in the middle of a call");
    if (stream !== undefined) return stream.remoteEnd();
    if (open) return this.#grpcJs!.headers(streamId, endStream, fields ?? []);
    if (streamId % 2 === 0) throw new Http2Error(PROTOCOL_ERROR, `a client cannot open stream ${streamId}`);
    if (streamId <= this.#lastStreamId) return; // It is over; the device could not know yet.
    this.#lastStreamId = streamId;
    if (this.#goingAway) return this.send(numbersFrame(RST_STREAM, streamId, REFUSED_STREAM));
    if (fields === undefined) return this.#refuseCall(streamId, ENHANCE_YOUR_CALM);
    if (this.#streams.size + (this.#grpcJs?.size ?? 0) >= MAX_STREAMS) {
      return this.#refuseCall(streamId, REFUSED_STREAM);
    }
    const take = this.accept(fields);
    if (take === undefined) this.#giveToGrpcJs(streamId, endStream, fields);
    else this.#take(streamId, endStream, fields, take);
  }

  #refuseCall(streamId: number, code: number): void {
    this.counters.callsRefused++;
    this.send(numbersFrame(RST_STREAM, streamId, code));
  }

  #decode(block: Uint8Array): HeaderField[] | undefined {
    try {
      return this.#headers.decode(block, MAX_HEADER_BYTES);
    } catch (error) {
      if (!(error instanceof HeaderBlockError)) throw error;
      throw new Http2Error(COMPRESSION_ERROR, error.message);
    }
  }

  #take(
    streamId: number,
    endStream: boolean,
    fields: readonly HeaderField[],
    take: (stream: Http2Stream) => void,
  ): void {
    const length = fields.find(([name]) => name === "content-length")?.[1];
    const stream = new Http2Stream(this, streamId, length === undefined ? undefined : Number(length));
    this.#streams.set(streamId, stream);
    take(stream);
    if (endStream) stream.remoteEnd();
  }

  #giveToGrpcJs(streamId: number, endStream: boolean, fields: readonly HeaderField[]): void {
    if (this.#grpcJs === undefined) {
      this.#grpcJs = new GrpcJsStreams(this);
      this.inject(this.#grpcJs);
    }
    this.#grpcJs.headers(streamId, endStream, fields);
  }

  /** What served the other calls has ended, in good order or not. */
  grpcJsClosed(): void {
    this.#grpcJs = undefined;
    if (this.#over) return;
    this.#end();
    this.socket.destroySoon();
  }

  /** See {@linkcode FrameTaker}. */
  frame(type: number, flags: number, streamId: number, payload: Uint8Array, whole: Uint8Array): void {
    switch (type) {
      case DATA:
        this.#received(payload.length);
        return this.#grpcJs!.data(streamId, flags, payload.length, whole);
      case PRIORITY:
        return mustHave(payload, 5);
      case RST_STREAM:
        mustHave(payload, 4);
        return this.#takeReset(streamId, whole);
      case SETTINGS:
        if ((flags & ACK) !== 0) return mustHave(payload, 0);
        return this.#takeSettings(payload);
      case PUSH_PROMISE:
        throw new Http2Error(PROTOCOL_ERROR, "PUSH_PROMISE of a client");
      case PING:
        mustHave(payload, 8);
        if ((flags & ACK) === 0) this.send(frame(PING, ACK, 0, payload));
        return;
      case GOAWAY:
        this.#goingAway = true;
        return this.#hangUpWhenDone();
      case WINDOW_UPDATE:
        mustHave(payload, 4);
        return this.#takeWindowUpdate(streamId, readUint32(payload, 0) & MAX_WINDOW_BYTES, whole);
    }
  }

  #takeReset(streamId: number, whole: Uint8Array): void {
    this.#mustBeOpened(streamId);
    if (this.#resetsLeft-- === 0) {
      throw new Http2Error(ENHANCE_YOUR_CALM, "too many calls were opened and taken back");
    }
    this.#streams.get(streamId)?.close();
    this.#grpcJs?.reset(streamId, whole);
  }

  #takeSettings(payload: Uint8Array): void {
    if (payload.length % 6 !== 0) throw new Http2Error(FRAME_SIZE_ERROR, "SETTINGS of six bytes each");
    for (let at = 0; at < payload.length; at += 6) {
      const parameter = payload[at]! << 8 | payload[at + 1]!, value = readUint32(payload, at + 2);
      if (parameter === HEADER_TABLE_SIZE) this.headerTableBytes = value;
      if (parameter === INITIAL_WINDOW_SIZE) this.#setInitialWindow(value);
    }
    this.#grpcJs?.settings();
    this.send(settingsAck);
  }

  #setInitialWindow(bytes: number): void {
    mustBeWindow(bytes);
    const more = bytes - this.initialSendWindowBytes;
    this.initialSendWindowBytes = bytes;
    for (const stream of [...this.#streams.values()]) stream.widen(more);
  }

  #takeWindowUpdate(streamId: number, bytes: number, whole: Uint8Array): void {
    if (bytes === 0) throw new Http2Error(PROTOCOL_ERROR, "a WINDOW_UPDATE of nothing");
    if (streamId !== 0) {
      this.#mustBeOpened(streamId);
      this.#streams.get(streamId)?.widen(bytes);
      return this.#grpcJs?.widen(streamId, whole);
    }
    this.#sendWindowBytes += bytes;
    mustBeWindow(this.#sendWindowBytes);
    this.#grpcJs?.widenConnection(bytes);
    this.#pump();
  }
}

/** In the next tick, so that what is said in one turn leaves in one write. */
function flush(connection: Http2Connection): void {
  connection.flush();
}

function mustHave(payload: Uint8Array, bytes: number): void {
  if (payload.length !== bytes) throw new Http2Error(FRAME_SIZE_ERROR, `a frame without its ${bytes} bytes`);
}
