/**
 * One HTTP/2 connection of the load generator and its calls: sends what it is given as fast as the peer's
 * windows allow, and takes nothing for well that did not end with grpc-status 0.
 *
 * @module
 */
import type { Ack } from "../../src/protocol/messages.ts";
import { streamPackets } from "../../src/protocol/telemetry_proto.ts";
import { frame, joined, readHeaders, writeStreamId } from "../support/http2_frames.ts";
import {
  ACK,
  DATA,
  END_HEADERS,
  END_STREAM,
  FRAME_HEADER_BYTES,
  GOAWAY,
  HEADERS,
  INITIAL_WINDOW_BYTES,
  PING,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from "../support/http2_numbers.ts";
import {
  callHeaders,
  connectionPreface,
  initialWindowOf,
  readFrames,
  type Received,
  replyTo,
  writeAll,
} from "./client_frames.ts";
import type { PacketRing } from "./packet_ring.ts";

/** Frames `[from, to)` of the ring: whole groups, to be sent on one stream. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/** Where connections get what they send. */
export interface PacketSource {
  readonly ring: PacketRing;
  /** Most frames of one write. */
  readonly framesPerWrite: number;
  /** What `stream` is to send next: `wait` until it is woken, or `end`. */
  next(stream: LoadStream): Span | "wait" | "end";
}

/** One call. */
export class LoadStream {
  /** How it ended; undefined while it has not. */
  outcome: { readonly ack: Ack } | { readonly failure: string } | undefined;
  /** Groups that a rate allows it to send. */
  granted = 0;
  /** Of its span, what is not sent. */
  from = 0;
  to = 0;
  ended = false;
  window = 0;
  /** What of the answer has come since the last whole message, and that message. */
  answer: Uint8Array = new Uint8Array(0);
  lastMessage: Uint8Array | undefined;

  constructor(readonly connection: LoadConnection, readonly id: number) {}
}

/** Window for what the peer sends: Acks of some minutes. */
const RECEIVE_WINDOW_BYTES = 2 ** 24;

const READ_BUFFER_BYTES = 4096;
const PREFIX_BYTES = 5;

/** A connection with `streams` calls. */
export class LoadConnection {
  readonly streams: readonly LoadStream[];
  /** The peer has taken the calls: it has answered a PING that was sent behind them. */
  readonly opened: Promise<void>;
  /** Every call has its outcome. Never rejects. */
  readonly done: Promise<void>;
  readonly #source: PacketSource;
  readonly #tcp: Deno.TcpConn | Deno.TlsConn;
  readonly #opened = Promise.withResolvers<void>();
  readonly #done = Promise.withResolvers<void>();
  /** Frames to be sent before any DATA. */
  #control: Uint8Array[] = [];
  #wake = Promise.withResolvers<void>();
  #window = INITIAL_WINDOW_BYTES;
  #streamWindow = INITIAL_WINDOW_BYTES;
  #open: number;
  #turn = 0;
  #closed = false;

  private constructor(tcp: Deno.TcpConn | Deno.TlsConn, path: string, streams: number, source: PacketSource) {
    this.#tcp = tcp;
    this.#source = source;
    this.#open = streams;
    this.opened = this.#opened.promise;
    this.done = this.#done.promise;
    this.streams = Array.from({ length: streams }, (_, index) => new LoadStream(this, 2 * index + 1));
    const { hostname, port } = tcp.remoteAddr;
    const block = callHeaders(path, `${hostname}:${port}`);
    this.#control.push(joined(
      connectionPreface(RECEIVE_WINDOW_BYTES),
      ...this.streams.map(({ id }) => frame(HEADERS, END_HEADERS, id, block)),
      frame(PING, 0, 0, new Uint8Array(8)),
    ));
    for (const stream of this.streams) stream.window = this.#streamWindow;
  }

  /** Connects and opens the calls; rejects when the connection is refused. */
  static async open(
    port: number,
    path: string,
    streams: number,
    source: PacketSource,
    ca?: string | undefined,
  ): Promise<LoadConnection> {
    const hostname = "127.0.0.1";
    const tcp = ca === undefined
      ? await Deno.connect({ hostname, port })
      : await Deno.connectTls({ hostname, port, caCerts: [ca], alpnProtocols: ["h2"] });
    if (!("handshake" in tcp)) tcp.setNoDelay();
    const connection = new LoadConnection(tcp, path, streams, source);
    connection.#read();
    connection.#write();
    return connection;
  }

  /** There may be something to send again. */
  wake(): void {
    this.#wake.resolve();
  }

  /** Cuts it. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.wake();
    this.#tcp.close();
  }

  async #write(): Promise<void> {
    try {
      while (!this.#closed) {
        const bytes = this.#nextWrite();
        if (bytes === undefined) {
          await this.#wake.promise;
          this.#wake = Promise.withResolvers();
          continue;
        }
        await writeAll(this.#tcp, bytes);
      }
    } catch (error) {
      this.#lost(error);
    }
  }

  #nextWrite(): Uint8Array | undefined {
    if (this.#control.length > 0) {
      const bytes = joined(...this.#control);
      this.#control = [];
      return bytes;
    }
    // Each stream has its turn; one that must wait does not hold the others.
    for (let tries = this.streams.length; tries > 0; tries--) {
      const stream = this.streams[this.#turn]!;
      if (++this.#turn === this.streams.length) this.#turn = 0;
      const bytes = stream.ended ? undefined : this.#nextOf(stream);
      if (bytes !== undefined) return bytes;
    }
    return undefined;
  }

  #nextOf(stream: LoadStream): Uint8Array | undefined {
    const { ring: { bytes, frameAt }, framesPerWrite } = this.#source;
    if (stream.from === stream.to) {
      const span = this.#source.next(stream);
      if (span === "wait") return undefined;
      if (span === "end") {
        stream.ended = true;
        return frame(DATA, END_STREAM, stream.id);
      }
      stream.from = span.from;
      stream.to = span.to;
    }
    const { from } = stream;
    const most = Math.min(stream.to, from + framesPerWrite);
    let room = Math.min(this.#window, stream.window), to = from;
    for (; to < most; to++) {
      const length = frameAt[to + 1]! - frameAt[to]! - FRAME_HEADER_BYTES;
      if (length > room) break;
      room -= length;
    }
    if (to === from) return undefined;
    stream.from = to;
    const start = frameAt[from]!, end = frameAt[to]!;
    const payload = end - start - (to - from) * FRAME_HEADER_BYTES;
    this.#window -= payload;
    stream.window -= payload;
    if (stream.id === 1) return bytes.subarray(start, end);
    const own = bytes.slice(start, end);
    for (let index = from; index < to; index++) writeStreamId(own, frameAt[index]! - start, stream.id);
    return own;
  }

  async #read(): Promise<void> {
    try {
      await readFrames(this.#tcp, READ_BUFFER_BYTES, (...received) => this.#take(...received), () => {
        if (this.#control.length > 0) this.wake();
      });
    } catch (error) {
      this.#lost(error);
    }
  }

  #take(...received: Received): void {
    const [type, flags, streamId, payload] = received;
    const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
    const stream = streamId === 0 ? undefined : this.streams[(streamId - 1) / 2];
    const reply = replyTo(received);
    if (reply !== undefined) this.#control.push(reply);
    switch (type) {
      case WINDOW_UPDATE:
        if (stream === undefined) this.#window += view.getUint32(0);
        else stream.window += view.getUint32(0);
        return this.wake();
      case SETTINGS:
        return this.#resizeWindows(initialWindowOf(payload) ?? this.#streamWindow);
      case PING:
        if (flags & ACK) this.#opened.resolve();
        return;
      case DATA:
        if (stream !== undefined) takeAnswer(stream, payload);
        return;
      case HEADERS:
        if (stream !== undefined && flags & END_STREAM) this.#end(stream, outcomeOf(stream, payload));
        return;
      case RST_STREAM:
        if (stream !== undefined) this.#end(stream, { failure: `RST_STREAM with code ${view.getUint32(0)}` });
        return;
      case GOAWAY:
        throw new Error(`GOAWAY with code ${view.getUint32(4)}`);
    }
  }

  #resizeWindows(size: number): void {
    for (const stream of this.streams) stream.window += size - this.#streamWindow;
    this.#streamWindow = size;
    this.wake();
  }

  #end(stream: LoadStream, outcome: NonNullable<LoadStream["outcome"]>): void {
    if (stream.outcome !== undefined) return;
    stream.outcome = outcome;
    stream.ended = true;
    if (--this.#open === 0) this.#done.resolve();
  }

  /** The connection is of no use any more, whoever ended it. */
  #lost(error: unknown): void {
    const failure = `connection lost: ${error instanceof Error ? error.message : error}`;
    for (const stream of this.streams) this.#end(stream, { failure });
    this.#opened.resolve();
    this.close();
  }
}

function takeAnswer(stream: LoadStream, payload: Uint8Array): void {
  let bytes = joined(stream.answer, payload);
  while (bytes.length >= PREFIX_BYTES) {
    const end = PREFIX_BYTES + new DataView(bytes.buffer, bytes.byteOffset).getUint32(1);
    if (bytes.length < end) break;
    stream.lastMessage = bytes.subarray(PREFIX_BYTES, end);
    bytes = bytes.subarray(end);
  }
  stream.answer = bytes;
}

function outcomeOf(stream: LoadStream, trailers: Uint8Array): NonNullable<LoadStream["outcome"]> {
  const headers = readHeaders(trailers);
  const status = headers.get("grpc-status");
  if (status !== "0") {
    return { failure: `grpc-status ${status}: ${decodeURIComponent(headers.get("grpc-message") ?? "")}` };
  }
  if (!stream.ended) return { failure: "grpc-status 0 before the stream had ended" };
  if (stream.lastMessage === undefined) return { failure: "grpc-status 0 without an Ack" };
  const ack = streamPackets.responseDeserialize(stream.lastMessage as Buffer);
  return ack.ok ? { ack } : { failure: "an Ack that is not ok" };
}
