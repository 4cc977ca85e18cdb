/**
 * New calls: which are refused, and who serves the others.
 *
 * @module
 */
import type { MessageGuard } from "./bridged_call.ts";
import type { Http2Counters } from "./counters.ts";
import {
  ENHANCE_YOUR_CALM,
  Http2Error,
  NO_ERROR,
  numbersFrame,
  PROTOCOL_ERROR,
  REFUSED_STREAM,
  RST_STREAM,
} from "./frames.ts";
import { GrpcJsBridge, type Inject, type PeerAddress } from "./grpc_js_bridge.ts";
import { readRequest } from "./header_rules.ts";
import type { HeaderField } from "./hpack/tables.ts";
import type { ConnectionLimits } from "./limits.ts";
import { Http2Stream } from "./stream.ts";
import type { StreamTable } from "./stream_table.ts";

/** Who serves a call. */
export type Route =
  /** This process: the handler sets the stream's reader. */
  | { readonly handler: (stream: Http2Stream) => void }
  /** Nobody: the response is these headers alone. */
  | { readonly response: readonly HeaderField[] }
  /** grpc-js, which is given these headers; `guard` bounds the call's messages. */
  | { readonly bridge: readonly HeaderField[]; readonly guard: MessageGuard };

/** What the calls of every connection share. */
export interface CallOptions {
  /** Decides by the headers of a call, which are a well-formed request, who serves it; `peer` is one object per connection. */
  readonly route: (headers: readonly HeaderField[], peer: PeerAddress) => Route;
  /** Gives a connection in memory to grpc-js. */
  readonly inject: Inject;
  /** Bounds. */
  readonly limits: ConnectionLimits;
  /** Counts of the process. */
  readonly counters: Http2Counters;
}

/** Work units of a call, and of one that is bridged; see {@linkcode ConnectionLimits.workPerTurn}. */
const CALL_WORK = 60, BRIDGED_CALL_WORK = 448;

/** What the calls need of their connection. */
export interface CallHost {
  /** No call is accepted any more. */
  readonly draining: boolean;
  /** The connection, as the calls' peer. */
  readonly peer: PeerAddress;
  /** What all connections share. */
  readonly options: CallOptions;
  /** Too many calls were refused: none is to be accepted any more. */
  refuseMore(): void;
}

/** Admits the calls of one connection. */
export class CallAdmission {
  /** Made when a call comes that is bridged. */
  #bridge: GrpcJsBridge | undefined;
  /** Calls that came although none is accepted any more. */
  #refusedWhileDraining = 0;

  /** Of the connection `host`. */
  constructor(readonly host: CallHost, readonly table: StreamTable) {}

  /** The peer opens a stream with these headers; undefined: they are larger than allowed. */
  newCall(
    streamId: number,
    endStream: boolean,
    fields: readonly HeaderField[] | undefined,
    dependsOnItself: boolean,
  ): void {
    if (streamId % 2 === 0) throw new Http2Error(PROTOCOL_ERROR, `a client cannot open stream ${streamId}`);
    this.table.lastStreamId = streamId;
    this.table.spendWork(CALL_WORK);
    const refusal = this.#refusal(fields);
    if (refusal !== undefined) return this.#refuse(streamId, refusal);
    const request = readRequest(fields!);
    if (
      typeof request === "string" || dependsOnItself || (endStream && (request.contentLength ?? 0) > 0)
    ) return this.table.resetStream(streamId, PROTOCOL_ERROR, true);
    const route = this.host.options.route(fields!, this.host.peer);
    if ("response" in route) return this.#respond(streamId, endStream, route.response);
    if ("bridge" in route && !this.table.budget.bridgedCall()) {
      return this.#refuse(streamId, ENHANCE_YOUR_CALM);
    }
    this.table.budget.callOpened();
    const stream = new Http2Stream(this.table, streamId, request.contentLength);
    this.table.add(stream);
    if ("bridge" in route) this.#bridgeCall(stream, route);
    else route.handler(stream);
    if (endStream && !stream.closed) stream.remoteEnd();
  }

  /** The connection is over. */
  close(): void {
    this.#bridge?.destroy();
    this.#bridge = undefined;
  }

  /** Why no new call is accepted now, as an error code. */
  #refusal(fields: readonly HeaderField[] | undefined): number | undefined {
    if (this.host.draining) return REFUSED_STREAM;
    if (fields === undefined || this.table.budget.refusesCalls()) return ENHANCE_YOUR_CALM;
    return this.table.size >= this.host.options.limits.maxConcurrentStreams ? REFUSED_STREAM : undefined;
  }

  #refuse(streamId: number, code: number): void {
    this.host.options.counters.callsRefused++;
    this.table.addClosed(streamId, "resetHere");
    this.table.send(numbersFrame(RST_STREAM, streamId, code));
    if (this.host.draining) {
      if (++this.#refusedWhileDraining > this.host.options.limits.refusalsBeforeGoAway) {
        throw new Http2Error(ENHANCE_YOUR_CALM, "too many calls after GOAWAY");
      }
    } else if (!this.table.budget.callRefused()) this.host.refuseMore();
  }

  /** The whole response to a call that nobody serves; what the peer still sends on it is discarded. */
  #respond(streamId: number, endStream: boolean, fields: readonly HeaderField[]): void {
    this.table.sendHeaders(streamId, fields, true);
    this.table.addClosed(streamId, endStream ? "ended" : "resetHere");
    if (!endStream) this.table.send(numbersFrame(RST_STREAM, streamId, NO_ERROR));
    if (!this.table.budget.callRefused()) this.host.refuseMore();
  }

  #bridgeCall(stream: Http2Stream, route: { bridge: readonly HeaderField[]; guard: MessageGuard }): void {
    this.table.spendWork(BRIDGED_CALL_WORK);
    if (this.#bridge === undefined || this.#bridge.ended) {
      this.#bridge = new GrpcJsBridge(this.host.peer, this.host.options.counters);
      this.host.options.inject(this.#bridge);
    }
    this.#bridge.open(stream, route.bridge, route.guard);
  }
}
