/**
 * The fast path from HTTP/2 to a {@linkcode DeviceStream}: without grpc-js's machinery per message, which costs more
 * than all the rest together.
 *
 * @module
 */
import { RequestError } from "../../protocol/request_error.ts";
import type { HeaderField } from "../../http2/hpack/tables.ts";
import type { Http2Stream } from "../../http2/stream.ts";
import type { Ack } from "../../protocol/messages.ts";
import { COMMITTED_KEY, MAX_MESSAGE_KEY, OFFSET_KEY, SESSION_KEY } from "../../protocol/metadata_keys.ts";
import { streamPackets } from "../../protocol/telemetry_proto.ts";
import type { TelemetryCall } from "./call_route.ts";
import { responseHeaders, statusFields, valueOf } from "./grpc_fields.ts";
import { MessageReader, PREFIX_BYTES, type ReaderOptions } from "./message_reader.ts";
import type { ClaimScheduler } from "./claim_scheduler.ts";
import { DeviceStream, type Ingest, parseStreamHead, type StreamCall } from "../stream/device_stream.ts";

/** What {@linkcode receiveTelemetry} needs. */
export interface FastPathOptions extends ReaderOptions {
  /** Where packets go. */
  readonly ingest: Ingest;
  /** When sessions are claimed. */
  readonly claims: ClaimScheduler;
}

/** Serves telemetry calls. */
export function receiveTelemetry(
  options: FastPathOptions,
): (stream: Http2Stream, call: TelemetryCall) => void {
  const { ingest, claims, maxMessageBytes } = options;
  return (http2Stream, { kind, headers, encoding, timeoutMs, peer }) => {
    const call = new FastCall(http2Stream, maxMessageBytes);
    let head;
    try {
      head = parseStreamHead(valueOf(headers, SESSION_KEY), valueOf(headers, OFFSET_KEY));
    } catch (error) {
      return call.end(error, 0);
    }
    ingest.counters.fastPathCalls++;
    const stream = new DeviceStream(ingest, kind, head, call);
    const reader = http2Stream.reader = new MessageReader(stream, http2Stream, encoding, peer, options);
    if (timeoutMs !== undefined) call.expireAfter(timeoutMs, stream);
    const { session } = head;
    if (session === undefined) return reader.resume();
    call.whenWell = () => claims.returned(peer);
    const closed = () => http2Stream.closed || !stream.reading;
    reader.whenBytes = claims.schedule(peer, closed, () => {
      stream.claimSession(session).then(() => reader.resume());
    });
  };
}

/** The device's end of an HTTP/2 stream. */
class FastCall implements StreamCall {
  /** Called when the call ends with OK. */
  whenWell: (() => void) | undefined;
  #over = false;
  #deadline: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly http2Stream: Http2Stream, readonly maxMessageBytes: number) {}

  /** Ends the call when its deadline has passed. */
  expireAfter(timeoutMs: number, stream: DeviceStream): void {
    this.#deadline = setTimeout(() => {
      stream.abandon(new RequestError("DEADLINE_EXCEEDED", "the deadline of the call has passed"));
    }, timeoutMs);
  }

  cancelled(): void {
    clearTimeout(this.#deadline);
  }

  sendHeaders(committed: number | undefined): void {
    if (this.http2Stream.headersSent) return;
    const fields = committed === undefined ? responseHeaders : [
      ...responseHeaders,
      [COMMITTED_KEY, String(committed)] as const,
      [MAX_MESSAGE_KEY, String(this.maxMessageBytes)] as const,
    ];
    this.http2Stream.sendHeaders(fields);
  }

  sendAck(ack: Ack, whenWritable: () => void): boolean {
    if (this.#over) return true;
    this.sendHeaders(undefined);
    const message = streamPackets.responseSerialize(ack);
    const framed = new Uint8Array(PREFIX_BYTES + message.length);
    new DataView(framed.buffer).setUint32(1, message.length);
    framed.set(message, PREFIX_BYTES);
    return this.http2Stream.write(framed, whenWritable);
  }

  end(error: unknown, committed: number): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#deadline);
    if (error === undefined) this.whenWell?.();
    const trailers: HeaderField[] = statusFields(error);
    if (error !== undefined) trailers.push([COMMITTED_KEY, String(committed)]);
    // Without headers, gRPC's "Trailers-Only": headers of their own would give the device its session.
    if (this.http2Stream.headersSent) this.http2Stream.end(trailers);
    else this.http2Stream.sendHeaders([...responseHeaders, ...trailers], true);
  }
}
