/**
 * The calls of a connection that grpc-js serves.
 *
 * grpc-js serves them on a connection of its own, which exists in memory only. Each call is an {@linkcode Http2Stream}
 * whose reader forwards the peer's frames to grpc-js, and on which the responses of grpc-js are sent. So this engine
 * alone applies HTTP/2's rules and the flow control towards the peer, a failed session of grpc-js ends only the calls it
 * serves, and grpc-js receives only well-formed frames.
 *
 * @module
 */
import { Duplex } from "node:stream";

import { BridgedCall, type MessageGuard } from "./bridged_call.ts";
import type { Http2Counters } from "./counters.ts";
import {
  ACK,
  concat,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  frame,
  FRAME_HEADER_BYTES,
  GOAWAY,
  HEADER_TABLE_SIZE,
  HEADERS,
  INITIAL_WINDOW_BYTES,
  INTERNAL_ERROR,
  NO_ERROR,
  numbersFrame,
  PING,
  PREFACE,
  readPayloadBytes,
  readStreamId,
  readUint32,
  RST_STREAM,
  SETTINGS,
  settingsFrame,
  WINDOW_UPDATE,
} from "./frames.ts";
import { HeaderBlock } from "./header_block.ts";
import { HeaderDecoder } from "./hpack/decoder.ts";
import { encodeHeaders } from "./hpack/encoder.ts";
import type { HeaderField } from "./hpack/tables.ts";
import type { Http2Stream } from "./stream.ts";

/** Passes an in-memory connection to grpc-js's server. */
export type Inject = (socket: Duplex) => void;

/** Address of a peer, where it is known. */
export interface PeerAddress {
  /** IP address. */
  readonly remoteAddress?: string | undefined;
  /** TCP port. */
  readonly remotePort?: number | undefined;
}

/** The socket that grpc-js reads and writes for the bridged calls of one connection. */
export class GrpcJsBridge extends Duplex {
  readonly #calls = new Map<number, BridgedCall>();
  readonly #decoder = new HeaderDecoder();
  /** Beginning of a frame that grpc-js has written in part. */
  #split: Uint8Array | undefined;
  #block: HeaderBlock | undefined;
  /** Room in grpc-js's window for the connection, bytes of DATA. */
  #roomBytes: number = INITIAL_WINDOW_BYTES;
  /** Calls whose DATA waits for that room. */
  readonly #blocked = new Set<BridgedCall>();
  #ended = false;

  /** Sends the client's preface to grpc-js. `peer`: the connection whose calls are bridged. */
  constructor(readonly peer: PeerAddress, readonly counters: Http2Counters) {
    super();
    this.on("error", () => {}); // _destroy has ended the calls already
    this.push(PREFACE);
    // No dynamic table: header blocks of grpc-js are decoded here at once, and encoded again for the peer.
    this.push(settingsFrame([[HEADER_TABLE_SIZE, 0]]));
  }

  /** IP address of the peer; grpc-js reports it as the call's peer. */
  get remoteAddress(): string | undefined {
    return this.peer.remoteAddress;
  }

  /** TCP port of the peer. */
  get remotePort(): number | undefined {
    return this.peer.remotePort;
  }

  /** Whether grpc-js accepts no more calls here, so that new ones need another bridge. */
  get ended(): boolean {
    return this.#ended || this.destroyed;
  }

  /** Room in grpc-js's window for the connection, bytes of DATA. */
  get roomBytes(): number {
    return this.#roomBytes;
  }

  /** Opens a call in grpc-js with these request headers. */
  open(stream: Http2Stream, fields: readonly HeaderField[], guard: MessageGuard): void {
    const call = new BridgedCall(stream, this, guard);
    this.#calls.set(stream.id, call);
    this.counters.bridgedCalls++;
    stream.reader = call;
    this.push(frame(HEADERS, END_HEADERS, stream.id, encodeHeaders(fields)));
  }

  /** Sends DATA of a call to grpc-js. */
  sendData(streamId: number, data: Uint8Array, endStream: boolean): void {
    this.#roomBytes -= data.length;
    this.push(frame(DATA, endStream ? END_STREAM : 0, streamId, data));
  }

  /** Calls {@linkcode BridgedCall.pump} of `call` when grpc-js's window for the connection has room again. */
  waitForRoom(call: BridgedCall): void {
    this.#blocked.add(call);
  }

  /** `bytes` of a response were sent to the peer: allows grpc-js to send as many more. */
  returnCredit(streamId: number, bytes: number): void {
    if (bytes === 0 || this.ended) return;
    this.push(numbersFrame(WINDOW_UPDATE, 0, bytes));
    if (this.#calls.has(streamId)) this.push(numbersFrame(WINDOW_UPDATE, streamId, bytes));
  }

  /** The call has ended: removes it. With `code`, RST_STREAM is sent to grpc-js; without, grpc-js ended the call itself. */
  remove(call: BridgedCall, code: number | undefined): void {
    this.#blocked.delete(call);
    if (!this.#calls.delete(call.stream.id)) return;
    this.counters.bridgedCalls--;
    if (code !== undefined && !this.ended) {
      this.push(numbersFrame(RST_STREAM, call.stream.id, code));
    }
  }

  /** Reads the frames that grpc-js writes. */
  override _write(chunk: Uint8Array, _encoding: string, done: () => void): void {
    if (this.#split !== undefined) chunk = concat([this.#split, chunk]);
    let at = 0;
    while (chunk.length - at >= FRAME_HEADER_BYTES) {
      const end = at + FRAME_HEADER_BYTES + readPayloadBytes(chunk, at);
      if (chunk.length < end) break;
      this.#frame(
        chunk[at + 3]!,
        chunk[at + 4]!,
        readStreamId(chunk, at),
        chunk.slice(at + FRAME_HEADER_BYTES, end),
      );
      at = end;
    }
    this.#split = at < chunk.length ? chunk.slice(at) : undefined;
    done();
  }

  /** Nothing to do: frames are pushed when they are sent. */
  override _read(): void {}

  /** grpc-js half-closed: ends the calls and the other direction. */
  override _final(done: () => void): void {
    this.#end();
    this.push(null);
    done();
  }

  /** grpc-js closed this connection, or the peer's connection is closed. */
  override _destroy(_error: Error | null, done: (error?: Error | null) => void): void {
    this.#end();
    done(null);
  }

  #end(): void {
    this.#ended = true;
    for (const { stream } of [...this.#calls.values()]) stream.reset(INTERNAL_ERROR, false);
  }

  #frame(type: number, flags: number, streamId: number, payload: Uint8Array): void {
    switch (type) {
      case SETTINGS:
        if ((flags & ACK) === 0) this.push(frame(SETTINGS, ACK, 0, new Uint8Array(0)));
        return;
      case PING:
        if ((flags & ACK) === 0) this.push(frame(PING, ACK, 0, payload));
        return;
      case GOAWAY:
        // Open calls continue after GOAWAY, unless the session failed.
        this.#ended ||= readUint32(payload, 4) !== NO_ERROR;
        return;
      case WINDOW_UPDATE:
        return this.#windowUpdate(streamId, readUint32(payload, 0));
      case HEADERS:
        this.#block = new HeaderBlock(streamId, (flags & END_STREAM) !== 0, false);
        return this.#addToBlock(flags, payload);
      case CONTINUATION:
        return this.#addToBlock(flags, payload);
      case DATA:
        return this.#calls.get(streamId)?.responseData(payload, (flags & END_STREAM) !== 0);
      case RST_STREAM:
        return this.#calls.get(streamId)?.resetByGrpcJs(readUint32(payload, 0));
    }
  }

  #windowUpdate(streamId: number, bytes: number): void {
    if (streamId !== 0) return this.#calls.get(streamId)?.increaseWindow(bytes);
    this.#roomBytes += bytes;
    const blocked = [...this.#blocked];
    this.#blocked.clear();
    for (const call of blocked) call.pump();
  }

  #addToBlock(flags: number, fragment: Uint8Array): void {
    const block = this.#block!;
    if ((flags & END_HEADERS) === 0) return block.add(fragment);
    this.#block = undefined;
    const fields = this.#decoder.decode(block.endWith(fragment), Infinity);
    this.#calls.get(block.streamId)?.responseHeaders(fields!, block.endStream);
  }
}
