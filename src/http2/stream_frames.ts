/**
 * Handles DATA and HEADERS by the state of their stream (RFC 9113, 5.1, 6.1, 6.2).
 *
 * @module
 */
import type { CallAdmission } from "./call_admission.ts";
import type { StreamFrameHandler } from "./frame_reader.ts";
import {
  COMPRESSION_ERROR,
  ENHANCE_YOUR_CALM,
  FLOW_CONTROL_ERROR,
  Http2Error,
  PROTOCOL_ERROR,
  STREAM_CLOSED,
} from "./frames.ts";
import { brokenTrailerRule } from "./header_rules.ts";
import { HeaderDecoder } from "./hpack/decoder.ts";
import { HeaderBlockError, type HeaderField } from "./hpack/tables.ts";
import type { Http2Stream } from "./stream.ts";
import type { StreamTable } from "./stream_table.ts";

/** Work units of decoding a header block, of a call or of trailers. */
const HEADERS_WORK = 20;

/** Passes DATA to open streams and HEADERS to call admission; answers frames of other streams with the error that RFC 9113 requires. */
export class StreamFrames implements StreamFrameHandler {
  readonly #decoder = new HeaderDecoder();
  /** The stream of the current DATA frame; undefined: its data is discarded. */
  #dataStream: Http2Stream | undefined;

  /** `table`, `calls`: of the same connection. */
  constructor(readonly table: StreamTable, readonly calls: CallAdmission) {}

  /** Charges the windows, and finds the stream of the data that follows. */
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

  /** Passes the data to its stream, or discards it. */
  data(bytes: Uint8Array, start: number, end: number): void {
    if (this.#dataStream !== undefined) this.#dataStream.receive(bytes, start, end);
  }

  /** Half-closes the stream after its last DATA frame. */
  endData(endStream: boolean): void {
    const stream = this.#dataStream;
    this.#dataStream = undefined;
    if (endStream && stream !== undefined && !stream.closed) stream.remoteEnd();
  }

  /** Decodes the block: trailers of an open stream, or the headers of a new call. */
  headers(streamId: number, endStream: boolean, block: Uint8Array, dependsOnItself: boolean): void {
    const { table } = this;
    table.spendWork(HEADERS_WORK);
    const fields = this.#decode(block);
    const stream = table.get(streamId);
    if (stream !== undefined) this.#trailers(stream, streamId, endStream, fields);
    else if (streamId > table.lastStreamId) this.calls.newCall(streamId, endStream, fields, dependsOnItself);
    else if (table.endingOf(streamId) !== undefined) this.#closedFrame(streamId, "HEADERS");
    else {
      const found =
        `HEADERS on stream ${streamId}, which is below the last one opened, ${table.lastStreamId}`;
      throw new Http2Error(PROTOCOL_ERROR, found);
    }
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

  /** A frame of a stream that is not open: ignored if it may have been sent before the peer read RST_STREAM; else an error. */
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
