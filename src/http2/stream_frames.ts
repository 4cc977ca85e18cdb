/**
 * The frames of streams, DATA and HEADERS: what each means in the state its stream is in (RFC 9113, 5.1, 6.1, 6.2).
 *
 * @module
 */
import type { CallAdmission } from "./call_admission.ts";
import {
  COMPRESSION_ERROR,
  ENHANCE_YOUR_CALM,
  FLOW_CONTROL_ERROR,
  Http2Error,
  PROTOCOL_ERROR,
  STREAM_CLOSED,
} from "./frames.ts";
import type { StreamFrameHandler } from "./frame_reader.ts";
import { brokenTrailerRule } from "./header_rules.ts";
import { HeaderDecoder } from "./hpack/decoder.ts";
import { HeaderBlockError, type HeaderField } from "./hpack/tables.ts";
import type { Http2Stream } from "./stream.ts";
import type { StreamTable } from "./stream_table.ts";

/** Trailers cost as much to decode as a call's headers. */
const HEADERS_WORK = 20;

/** See the module. */
export class StreamFrames implements StreamFrameHandler {
  readonly #decoder = new HeaderDecoder();
  /** The stream of the current DATA frame; undefined: its data is discarded. */
  #dataStream: Http2Stream | undefined;

  /** Of one connection. */
  constructor(readonly table: StreamTable, readonly calls: CallAdmission) {}

  /** See {@linkcode StreamFrameHandler}. */
  startData(streamId: number, payloadBytes: number, paddingBytes: number, endStream: boolean): void {
    const { table } = this;
    table.received(payloadBytes);
    if (payloadBytes - paddingBytes < table.limits.smallDataBytes && !endStream) table.budget.controlFrame();
    const stream = this.#dataStream = table.get(streamId);
    if (stream !== undefined && !stream.remoteEnded && stream.window.received(payloadBytes)) {
      if (paddingBytes > 0) table.returnCredit(stream, paddingBytes);
      return;
    }
    this.#dataStream = undefined;
    table.returnCredit(undefined, payloadBytes);
    if (stream === undefined) this.#closedFrame(streamId, "DATA");
    else table.resetStream(streamId, stream.remoteEnded ? STREAM_CLOSED : FLOW_CONTROL_ERROR, true);
  }

  /** See {@linkcode StreamFrameHandler}. */
  data(bytes: Uint8Array, start: number, end: number): void {
    if (this.#dataStream !== undefined) this.#dataStream.receive(bytes, start, end);
  }

  /** See {@linkcode StreamFrameHandler}. */
  endData(endStream: boolean): void {
    const stream = this.#dataStream;
    this.#dataStream = undefined;
    if (endStream && stream !== undefined && !stream.closed) stream.remoteEnd();
  }

  /** See {@linkcode StreamFrameHandler}. */
  headers(streamId: number, endStream: boolean, block: Uint8Array, dependsOnItself: boolean): void {
    const { table } = this;
    table.spendWork(HEADERS_WORK);
    const fields = this.#decode(block);
    const stream = table.get(streamId);
    if (stream !== undefined) this.#trailers(stream, streamId, endStream, fields);
    else if (streamId > table.lastStreamId) this.calls.newCall(streamId, endStream, fields, dependsOnItself);
    else if (table.endingOf(streamId) !== undefined) this.#closedFrame(streamId, "HEADERS");
    else throw new Http2Error(PROTOCOL_ERROR, `stream ${streamId} is opened after ${table.lastStreamId}`);
  }

  #trailers(
    stream: Http2Stream,
    streamId: number,
    endStream: boolean,
    fields: readonly HeaderField[] | undefined,
  ): void {
    if (stream.remoteEnded) return this.table.resetStream(streamId, STREAM_CLOSED, true);
    if (fields === undefined) return this.table.resetStream(streamId, ENHANCE_YOUR_CALM, true);
    if (!endStream || brokenTrailerRule(fields) !== undefined) {
      return this.table.resetStream(streamId, PROTOCOL_ERROR, true);
    }
    stream.remoteEnd();
  }

  /** A frame of a stream that is not open: an error, unless the peer could not know yet. */
  #closedFrame(streamId: number, type: string): void {
    this.table.assertOpened(streamId);
    switch (this.table.endingOf(streamId)) {
      case "resetHere":
        return;
      case "resetByPeer":
        return this.table.resetStream(streamId, STREAM_CLOSED, true);
      default:
        throw new Http2Error(STREAM_CLOSED, `${type} on stream ${streamId}, which is closed`);
    }
  }

  #decode(block: Uint8Array): HeaderField[] | undefined {
    try {
      return this.#decoder.decode(block, this.table.limits.maxHeaderListBytes);
    } catch (error) {
      if (!(error instanceof HeaderBlockError)) throw error;
      throw new Http2Error(COMPRESSION_ERROR, error.message);
    }
  }
}
