/**
 * The fast path from HTTP/2 to a {@linkcode DeviceStream}: without grpc-js's machinery per message, which costs more
 * than all the rest together.
 *
 * @module
 */
import { PREFIX_BYTES } from "../../http2/bridged_call.ts";
import type { HeaderField } from "../../http2/hpack/tables.ts";
import type { Http2Stream } from "../../http2/stream.ts";
import type { Ack } from "../../protocol/messages.ts";
import { COMMITTED_KEY } from "../../protocol/metadata_keys.ts";
import { streamPackets } from "../../protocol/telemetry_proto.ts";
import type { CallResponse, ClaimedSession } from "../stream/call_response.ts";
import { openStream } from "../stream/open_stream.ts";
import type { IngestState } from "../stream/ingest_state.ts";
import type { TelemetryCall } from "./call_route.ts";
import type { ClaimScheduler } from "./claim_scheduler.ts";
import { claimedFields } from "./claimed_fields.ts";
import { responseHeaders, statusFields } from "./grpc_fields.ts";
import { MessageReader, type ReaderOptions } from "./message_reader.ts";

/** What {@linkcode receiveTelemetry} needs. */
export interface FastPathOptions extends ReaderOptions {
  /** What all streams share. */
  readonly ingest: IngestState;
  /** When sessions are claimed. */
  readonly claims: ClaimScheduler;
}

/** Serves telemetry calls. */
export function receiveTelemetry(
  options: FastPathOptions,
): (stream: Http2Stream, call: TelemetryCall) => void {
  const { ingest, claims, maxMessageBytes } = options;
  return (http2Stream, { kind, context, encoding, timeoutMs }) => {
    const { peer } = context;
    const response = new Http2Response(http2Stream, maxMessageBytes);
    const stream = openStream(ingest, kind, context, response);
    if (stream === undefined) return;
    ingest.counters.fastPathStreams++;
    const reader = http2Stream.reader = new MessageReader(stream, http2Stream, encoding, peer, options);
    if (timeoutMs !== undefined) {
      context.expireAfter(timeoutMs);
      context.signal.addEventListener("abort", () => stream.abort(context.signal.reason));
    }
    if (stream.start.session === undefined) return reader.resume();
    response.onOk = () => claims.giveBack(peer);
    reader.onFirstBytes = claims.schedule(peer, () => !stream.reading, () => {
      stream.claimSession().then(() => reader.resume());
    });
  };
}

/** The response on an HTTP/2 stream. */
class Http2Response implements CallResponse {
  /** Called when the call ends with OK. */
  onOk: (() => void) | undefined;
  #ended = false;

  constructor(readonly http2Stream: Http2Stream, readonly maxMessageBytes: number) {}

  sendHeaders(claimed?: ClaimedSession): void {
    if (this.http2Stream.headersSent) return;
    this.http2Stream.sendHeaders(
      claimed === undefined
        ? responseHeaders
        : [...responseHeaders, ...claimedFields(claimed, this.maxMessageBytes)],
    );
  }

  sendAck(ack: Ack, onWritable: () => void): boolean {
    if (this.#ended) return true;
    this.sendHeaders();
    const message = streamPackets.responseSerialize(ack);
    const framed = new Uint8Array(PREFIX_BYTES + message.length);
    new DataView(framed.buffer).setUint32(1, message.length);
    framed.set(message, PREFIX_BYTES);
    return this.http2Stream.write(framed, onWritable);
  }

  end(error: unknown, committed: number): void {
    if (this.#ended) return;
    this.#ended = true;
    if (error === undefined) this.onOk?.();
    const trailers: HeaderField[] = statusFields(error);
    if (error !== undefined) trailers.push([COMMITTED_KEY, String(committed)]);
    // Without headers sent, gRPC's "Trailers-Only": initial metadata would signal that the session is claimed.
    if (this.http2Stream.headersSent) this.http2Stream.end(trailers);
    else this.http2Stream.sendHeaders([...responseHeaders, ...trailers], true);
  }
}
