/**
 * The telemetry calls as grpc-js handlers, for calls that are not compressed when the fast path of `fast_path.ts` is
 * disabled.
 *
 * @module
 */
import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";

import {
  Metadata,
  type Server,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServiceDefinition,
} from "@grpc/grpc-js";

import type { Ack } from "../../protocol/messages.ts";
import { COMMITTED_KEY } from "../../protocol/metadata_keys.ts";
import { SERVICE_NAMES, streamBatches, streamPackets } from "../../protocol/telemetry_proto.ts";
import type { CallContext } from "../stream/call_context.ts";
import type { CallResponse, ClaimedSession } from "../stream/call_response.ts";
import type { DeviceStream, StreamKind } from "../stream/device_stream.ts";
import { openStream } from "../stream/open_stream.ts";
import type { IngestState } from "../stream/ingest_state.ts";
import { type BridgedContexts, CONTEXT_KEY } from "./bridged_contexts.ts";
import { claimedFields } from "./claimed_fields.ts";
import { grpcStatus } from "./grpc_status.ts";

type ClientStreamingCall = ServerReadableStream<Uint8Array, Ack>;
type BidiStreamingCall = ServerDuplexStream<Uint8Array, Ack>;
type Call = ClientStreamingCall | BidiStreamingCall;
type Callback = (error: object | null, ack?: Ack | null) => void;

/**
 * Adds the telemetry service, under each of its names; the server accepts messages up to `maxMessageBytes`. `contexts`
 * has the context of each call.
 */
export function addTelemetryService(
  server: Server,
  ingest: IngestState,
  contexts: BridgedContexts,
  maxMessageBytes: number,
): void {
  // Messages stay bytes: DeviceStream reads them, as it does on the fast path.
  const requestDeserialize = (bytes: Uint8Array) => bytes;
  for (const name of SERVICE_NAMES) {
    const service = {
      StreamPackets: { ...streamPackets, path: `/${name}/StreamPackets`, requestDeserialize },
      StreamBatches: { ...streamBatches, path: `/${name}/StreamBatches`, requestDeserialize },
    } as unknown as ServiceDefinition;
    server.addService(service, {
      StreamPackets: (call: ClientStreamingCall, callback: Callback) =>
        receive(
          call,
          "packets",
          new ClientStreamingResponse(call, callback, maxMessageBytes),
          ingest,
          contexts,
        ),
      StreamBatches: (call: BidiStreamingCall) =>
        receive(call, "batches", new BidiStreamingResponse(call, maxMessageBytes), ingest, contexts),
    });
  }
}

async function receive(
  call: Call,
  kind: StreamKind,
  response: CallResponse,
  ingest: IngestState,
  contexts: BridgedContexts,
): Promise<void> {
  let context: CallContext;
  try {
    context = await contexts.take(call.metadata.get(CONTEXT_KEY)[0]);
  } catch (error) {
    return response.end(error, 0);
  }
  if (call.cancelled) return;
  const stream = openStream(ingest, kind, context, response);
  if (stream === undefined) return;
  ingest.counters.grpcJsStreams++;
  const reader = new GrpcJsReader(call, stream);
  call.on("cancelled", () => reader.close());
  if (stream.start.session !== undefined) await stream.claimSession();
  // Not `for await`: at its end it destroys the stream, and the response with it.
  call.on("data", (message: Uint8Array) => reader.read(message));
  call.on("end", () => reader.end());
}

/** Passes the messages of a call to its stream as long as the queue has room. */
class GrpcJsReader {
  /** A message that waits for room, or for the stream's rates; the call is paused meanwhile. */
  #waiting: Uint8Array | undefined;
  #ended = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #resume = () => {
    const message = this.#waiting!;
    this.#waiting = undefined;
    this.read(message);
    if (this.#waiting !== undefined) return;
    if (this.#ended) this.stream.end();
    else this.call.resume();
  };

  constructor(readonly call: Call, readonly stream: DeviceStream) {}

  read(message: Uint8Array): void {
    const { stream } = this, { queue, counters } = stream.ingest;
    if (!stream.reading) return;
    const { paceMs } = stream;
    if (!queue.full && paceMs === 0) return stream.message(message, 0, message.length);
    this.#waiting = message;
    this.call.pause();
    if (paceMs > 0) {
      counters.streamsPaced++;
      this.#timer = setTimeout(this.#resume, paceMs);
      return;
    }
    counters.queueFull++;
    queue.waitForRoom(this.#resume);
  }

  /** The device half-closed; the last message may still wait. */
  end(): void {
    this.#ended = true;
    if (this.#waiting === undefined) this.stream.end();
  }

  close(): void {
    clearTimeout(this.#timer);
    this.stream.ingest.queue.cancelWait(this.#resume);
    this.stream.cancelled();
  }
}

function committedMetadata(committed: number | undefined): Metadata {
  const metadata = new Metadata();
  if (committed !== undefined) metadata.set(COMMITTED_KEY, String(committed));
  return metadata;
}

function initialMetadata(claimed: ClaimedSession, maxMessageBytes: number): Metadata {
  const metadata = new Metadata();
  for (const [key, value] of claimedFields(claimed, maxMessageBytes)) metadata.set(key, value);
  return metadata;
}

type StreamHandler = (interceptors: unknown, stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

/**
 * Keeps from grpc-js what would end the process: streams that were reset before it handles them, to which it responds,
 * and errors of streams that it responds to at once, for which it has no listener. It hooks into `grpc.Server` at a
 * private method, so the version of grpc-js is pinned; `server_test.ts` has such streams.
 */
export function guardStreams(server: Server): void {
  const hooked = server as unknown as { _streamHandler: StreamHandler };
  const handle = hooked._streamHandler;
  hooked._streamHandler = function (interceptors, stream, headers) {
    stream.on("error", () => {}); // "close" follows, and does all there is to do
    if (!stream.destroyed && !stream.closed) handle.call(server, interceptors, stream, headers);
  };
}

/** `StreamPackets`: one Ack, at the end. */
class ClientStreamingResponse implements CallResponse {
  #ack: Ack | null = null;

  constructor(
    readonly call: ClientStreamingCall,
    readonly callback: Callback,
    readonly maxMessageBytes: number,
  ) {}

  sendHeaders(claimed: ClaimedSession): void {
    this.call.sendMetadata(initialMetadata(claimed, this.maxMessageBytes));
  }

  sendAck(ack: Ack): boolean {
    this.#ack = ack;
    return true;
  }

  end(error: unknown, committed: number): void {
    if (error === undefined) this.callback(null, this.#ack);
    else this.callback({ ...grpcStatus(error), metadata: committedMetadata(committed) });
  }
}

/** `StreamBatches`: Acks as packets are stored. */
class BidiStreamingResponse implements CallResponse {
  constructor(readonly call: BidiStreamingCall, readonly maxMessageBytes: number) {}

  sendHeaders(claimed: ClaimedSession): void {
    this.call.sendMetadata(initialMetadata(claimed, this.maxMessageBytes));
  }

  sendAck(ack: Ack, onWritable: () => void): boolean {
    const writable = this.call.write(ack);
    if (!writable) this.call.once("drain", onWritable);
    return writable;
  }

  end(error: unknown, committed: number): void {
    if (error === undefined) this.call.end();
    else this.call.emit("error", { ...grpcStatus(error), metadata: committedMetadata(committed) });
  }
}
