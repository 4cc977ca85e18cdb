/**
 * New calls of a connection: refuses those above a limit, and passes each other one to its handler or to grpc-js.
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

/** How a call is served. */
export type Route =
  /** By a native handler, which sets the stream's reader. */
  | { readonly handler: (stream: Http2Stream) => void }
  /** Not at all: the response is these headers alone. */
  | { readonly response: readonly HeaderField[] }
  /** By grpc-js, which receives these headers; `guard` limits the call's messages. */
  | { readonly bridge: readonly HeaderField[]; readonly guard: MessageGuard };

/** What the calls of every connection share. */
export interface CallOptions {
  /** Selects how a call is served, by its headers, which are a well-formed request. `peer`: one object per connection. */
  readonly route: (headers: readonly HeaderField[], peer: PeerAddress) => Route;
  /** Passes an in-memory connection to grpc-js's server. */
  readonly inject: Inject;
  /** Limits of each connection. */
  readonly limits: ConnectionLimits;
  /** Counters of the process. */
  readonly counters: Http2Counters;
}

/** Work units of a call, and the additional ones of a bridged call; part of {@linkcode ConnectionLimits.workPerTurn}. */
const CALL_WORK = 60, BRIDGED_CALL_WORK = 448;

/** The part of a connection that its call admission uses. */
export interface CallHost {
  /** Whether new calls are refused because the connection is closing. */
  readonly draining: boolean;
  /** Address of the calls' peer. */
  readonly peer: PeerAddress;
  /** Shared by all connections. */
  readonly options: CallOptions;
  /** Too many calls were refused: the connection should drain. */
  tooManyRefused(): void;
}

/** Admits the calls of one connection. */
export class CallAdmission {
  /** Created for the first bridged call. */
  #bridge: GrpcJsBridge | undefined;
  /** Calls that were opened after GOAWAY. */
  #refusedWhileDraining = 0;

  /** Adds the calls it accepts to `table`. */
  constructor(readonly host: CallHost, readonly table: StreamTable) {}

  /** The peer opened a stream. `fields` is undefined when the header list exceeds its limit. */
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
      route.guard.close();
      return this.#refuse(streamId, ENHANCE_YOUR_CALM);
    }
    this.table.budget.callOpened();
    const stream = new Http2Stream(this.table, streamId, request.contentLength);
    this.table.add(stream);
    if ("bridge" in route) this.#bridgeCall(stream, route);
    else route.handler(stream);
    if (endStream && !stream.closed) stream.remoteEnd();
  }

  /** The connection is closed: ends the bridged calls. */
  close(): void {
    this.#bridge?.destroy();
    this.#bridge = undefined;
  }

  /** The error code with which a new call is refused now; undefined: it is accepted. */
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
    } else if (!this.table.budget.callRefused()) this.host.tooManyRefused();
  }

  /** Sends the whole response of a call that is not served; further frames of its stream are discarded. */
  #respond(streamId: number, endStream: boolean, fields: readonly HeaderField[]): void {
    this.table.sendHeaders(streamId, fields, true);
    this.table.addClosed(streamId, endStream ? "ended" : "resetHere");
    if (!endStream) this.table.send(numbersFrame(RST_STREAM, streamId, NO_ERROR));
    if (!this.table.budget.callRefused()) this.host.tooManyRefused();
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
