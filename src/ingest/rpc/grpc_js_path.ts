/**
 * The telemetry calls as plain grpc-js handlers, for calls that are not compressed when the fast path of
 * `fast_path.ts` is disabled.
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

import { grpcStatus } from "./grpc_status.ts";
import type { Ack } from "../../protocol/messages.ts";
import { COMMITTED_KEY, MAX_MESSAGE_KEY, OFFSET_KEY, SESSION_KEY } from "../../protocol/metadata_keys.ts";
import { SERVICE_NAMES, streamBatches, streamPackets } from "../../protocol/telemetry_proto.ts";
import {
  DeviceStream,
  type Ingest,
  parseStreamHead,
  type StreamCall,
  type StreamKind,
} from "../stream/device_stream.ts";

type ClientStreamingCall = ServerReadableStream<Uint8Array, Ack>;
type BidiStreamingCall = ServerDuplexStream<Uint8Array, Ack>;
type Callback = (error: object | null, ack?: Ack | null) => void;

/** Adds the telemetry service, under each of its names; the server takes messages up to `maxMessageBytes`. */
export function addTelemetryService(server: Server, ingest: Ingest, maxMessageBytes: number): void {
  // Messages stay bytes: DeviceStream reads them, as it does on the fast path.
  const requestDeserialize = (bytes: Uint8Array) => bytes;
  for (const name of SERVICE_NAMES) {
    const service = {
      StreamPackets: { ...streamPackets, path: `/${name}/StreamPackets`, requestDeserialize },
      StreamBatches: { ...streamBatches, path: `/${name}/StreamBatches`, requestDeserialize },
    } as unknown as ServiceDefinition;
    server.addService(service, {
      StreamPackets: (call: ClientStreamingCall, callback: Callback) =>
        receive(call, "packets", new ClientStreaming(call, callback, maxMessageBytes), ingest),
      StreamBatches: (call: BidiStreamingCall) =>
        receive(call, "batches", new BidiStreaming(call, maxMessageBytes), ingest),
    });
  }
}

async function receive(
  call: ClientStreamingCall | BidiStreamingCall,
  kind: StreamKind,
  answer: StreamCall,
  ingest: Ingest,
): Promise<void> {
  let head;
  try {
    head = parseStreamHead(metadataText(call.metadata, SESSION_KEY), metadataText(call.metadata, OFFSET_KEY));
  } catch (error) {
    return answer.end(error, 0);
  }
  ingest.counters.ordinaryPathCalls++;
  const stream = new DeviceStream(ingest, kind, head, answer);
  let waiting: Uint8Array | undefined, ended = false;
  call.on("cancelled", () => {
    ingest.queue.forget(goOn);
    stream.cancelled();
  });
  const take = (message: Uint8Array) => {
    if (!stream.reading) return;
    if (!ingest.queue.full) return stream.message(message, 0, message.length);
    ingest.counters.queueFull++;
    waiting = message;
    call.pause();
    ingest.queue.whenRoom(goOn);
  };
  const goOn = () => {
    const message = waiting!;
    waiting = undefined;
    take(message);
    if (waiting !== undefined) return;
    if (ended) stream.end();
    else call.resume();
  };
  if (head.session !== undefined) await stream.claimSession(head.session);
  // Not `for await`: at its end it destroys the stream, and with it the way back.
  call.on("data", take);
  call.on("end", () => {
    ended = true;
    // The end comes also while the last message waits.
    if (waiting === undefined) stream.end();
  });
}

function metadataText(metadata: Metadata, key: string): string | undefined {
  const values = metadata.get(key);
  return values.length === 0 ? undefined : values.join(",");
}

function committedMetadata(committed: number | undefined): Metadata {
  const metadata = new Metadata();
  if (committed !== undefined) metadata.set(COMMITTED_KEY, String(committed));
  return metadata;
}

function openedMetadata(committed: number | undefined, maxMessageBytes: number): Metadata {
  const metadata = committedMetadata(committed);
  if (committed !== undefined) metadata.set(MAX_MESSAGE_KEY, String(maxMessageBytes));
  return metadata;
}

type StreamHandler = (interceptors: unknown, stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

/**
 * Keeps from grpc-js what would end the process: streams that were taken back before it sees them, which it
 * answers, and errors of streams that it answers at once, to which it does not listen. It hooks into
 * `grpc.Server` at a private method, so the version of grpc-js is pinned; `server_test.ts` has such streams.
 */
export function guardStreams(server: Server): void {
  const hooked = server as unknown as { _streamHandler: StreamHandler };
  const handle = hooked._streamHandler;
  hooked._streamHandler = function (interceptors, stream, headers) {
    stream.on("error", () => {}); // "close" follows, and says all there is to do
    if (!stream.destroyed && !stream.closed) handle.call(server, interceptors, stream, headers);
  };
}

/** `StreamPackets`: one Ack, with the end. */
class ClientStreaming implements StreamCall {
  #ack: Ack | null = null;

  constructor(
    readonly call: ClientStreamingCall,
    readonly callback: Callback,
    readonly maxMessageBytes: number,
  ) {}

  sendHeaders(committed: number | undefined): void {
    this.call.sendMetadata(openedMetadata(committed, this.maxMessageBytes));
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

/** `StreamBatches`: Acks as they come. */
class BidiStreaming implements StreamCall {
  constructor(readonly call: BidiStreamingCall, readonly maxMessageBytes: number) {}

  sendHeaders(committed: number | undefined): void {
    this.call.sendMetadata(openedMetadata(committed, this.maxMessageBytes));
  }

  sendAck(ack: Ack, whenWritable: () => void): boolean {
    const writable = this.call.write(ack);
    if (!writable) this.call.once("drain", whenWritable);
    return writable;
  }

  end(error: unknown, committed: number): void {
    if (error === undefined) this.call.end();
    else this.call.emit("error", { ...grpcStatus(error), metadata: committedMetadata(committed) });
  }
}
