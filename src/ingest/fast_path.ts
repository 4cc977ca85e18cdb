/**
 * The quick way from HTTP/2 to a {@linkcode DeviceStream}: messages are found in the DATA chunks where
 * they lie, without grpc-js's machinery per message, which costs more than all the rest together.
 *
 * It hooks into `grpc.Server` at a private method, so the version of grpc-js is pinned. Should the
 * method be gone, {@linkcode installFastPath} says so and grpc-js's own handlers serve, with the same
 * meaning and a fraction of the speed. Calls it does not take (health, compressed messages) go there
 * anyway.
 *
 * @module
 */
import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";

import type { Server } from "@grpc/grpc-js";

import { grpcStatus, RequestError } from "../errors.ts";
import {
  type Ack,
  COMMITTED_KEY,
  OFFSET_KEY,
  SERVICE_NAMES,
  SESSION_KEY,
  streamPackets,
} from "../telemetry_proto.ts";
import { DataFrames, type DataReader } from "./data_frames.ts";
import { DeviceStream, type Ingest, parseStreamHead, type StreamCall, type StreamKind } from "./stream.ts";

type StreamHandler = (interceptors: unknown, stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

const kinds = new Map<string, StreamKind>(SERVICE_NAMES.flatMap((service) => [
  [`/${service}/StreamPackets`, "packets"],
  [`/${service}/StreamBatches`, "batches"],
]));

/** Makes `server`, not yet bound, take the telemetry calls the quick way. False: it has no such hook. */
export function installFastPath(server: Server, ingest: Ingest, maxMessageBytes: number): boolean {
  return interceptStreams(server, (stream, headers) => {
    const kind = kinds.get(headers[":path"] as string);
    const taken = kind !== undefined && /^application\/grpc(\+proto)?$/.test(headers["content-type"] ?? "") &&
      (headers["grpc-encoding"] ?? "identity") === "identity";
    if (taken) receive(stream, headers, kind, ingest, maxMessageBytes);
    return taken;
  });
}

/**
 * Keeps from grpc-js what would end the process: streams that were taken back before it sees them, which it
 * answers, and errors of streams that it answers at once, to which it does not listen.
 */
export function guardStreams(server: Server): boolean {
  return interceptStreams(server, (stream) => {
    stream.on("error", () => {}); // "close" follows, and says all there is to do
    return stream.destroyed || stream.closed;
  });
}

/** Shows each HTTP/2 stream to `take`, and to grpc-js those that it does not take. */
function interceptStreams(
  server: Server,
  take: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => boolean,
): boolean {
  const hooked = server as unknown as { _streamHandler?: StreamHandler };
  const ordinary = hooked._streamHandler;
  if (typeof ordinary !== "function" || ordinary.length !== 3) return false;
  hooked._streamHandler = function (interceptors, stream, headers) {
    if (!take(stream, headers)) ordinary.call(server, interceptors, stream, headers);
  };
  return true;
}

function receive(
  http2Stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  kind: StreamKind,
  ingest: Ingest,
  maxMessageBytes: number,
): void {
  const call = new FastCall(http2Stream);
  let head;
  try {
    head = parseStreamHead(text(headers[SESSION_KEY]), text(headers[OFFSET_KEY]));
  } catch (error) {
    return call.end(error, 0);
  }
  const stream = new DeviceStream(ingest, kind, head, call);
  const reader = new MessageReader(stream, maxMessageBytes);
  http2Stream.on("close", () => {
    reader.cancel();
    stream.cancelled();
  });
  http2Stream.on("end", () => reader.end());
  const connection = DataFrames.of(http2Stream);
  // Where the length is announced, node:http2 compares it with what it sees itself.
  if (connection === undefined || headers["content-length"] !== undefined) {
    http2Stream.on("data", (chunk: Uint8Array) => {
      reader.read(chunk, 0, chunk.length);
      if (reader.waiting) http2Stream.pause();
    });
    reader.onResume = () => http2Stream.resume();
  } else {
    const taken = connection.take(http2Stream, reader);
    reader.onResume = () => taken.resume();
    http2Stream.resume();
  }
  if (head.session === undefined) reader.goOn();
  else stream.claimSession(head.session).then(() => reader.goOn());
}

function text(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(",") : value;
}

/** Bytes before each message: one for "compressed", four for the length, big-endian. */
const PREFIX_BYTES = 5;

/** Finds the messages in a stream's chunks and gives them to it as long as the queue has room. */
class MessageReader implements DataReader {
  /** Told when all that waited is read. */
  onResume: () => void = () => {};
  /** A message that spans chunks: its bytes so far, and how many it will have. */
  #split: Uint8Array | undefined;
  #splitFilled = 0;
  #splitLength = 0;
  readonly #prefix = new Uint8Array(PREFIX_BYTES);
  #prefixFilled = 0;
  /** What waits for room in the queue, or for the first {@linkcode goOn}; bounded by flow control. */
  #waiting: Uint8Array[] | undefined = [];
  #ended = false;
  readonly #goOn = () => this.goOn();

  constructor(readonly stream: DeviceStream, readonly maxMessageBytes: number) {}

  get waiting(): boolean {
    return this.#waiting !== undefined;
  }

  read(bytes: Uint8Array, start: number, end: number): void {
    // Copies: a small rest would keep all that was received with it.
    if (this.#waiting !== undefined) {
      this.#waiting.push(bytes.slice(start, end));
      return;
    }
    const at = this.#parse(bytes, start, end);
    if (at === end) return;
    this.#waiting = [bytes.slice(at, end)];
    this.#waitForRoom();
  }

  /** The device has sent its last chunk. */
  end(): void {
    this.#ended = true;
    if (this.waiting) return;
    if (this.#split !== undefined || this.#prefixFilled > 0) {
      this.stream.fail(new RequestError("INVALID_ARGUMENT", "the stream ends inside a message"));
    }
    this.stream.end();
  }

  /** The device is gone: nothing more is read, and what waits is let go. */
  cancel(): void {
    this.stream.ingest.queue.forget(this.#goOn);
    this.#waiting = undefined;
    this.#split = undefined;
  }

  /** Reads what waits. */
  goOn(): void {
    const waiting = this.#waiting ?? [];
    for (let first; (first = waiting[0]) !== undefined; waiting.shift()) {
      const at = this.#parse(first, 0, first.length);
      if (at === first.length) continue;
      waiting[0] = first.subarray(at);
      return this.#waitForRoom();
    }
    this.#waiting = undefined;
    this.onResume();
    if (this.#ended) this.end();
  }

  #waitForRoom(): void {
    const { queue, counters } = this.stream.ingest;
    counters.queueFull++;
    queue.whenRoom(this.#goOn);
  }

  /** Reads `bytes[at, end)` while the queue has room; returns where it stopped. */
  #parse(bytes: Uint8Array, at: number, end: number): number {
    const { stream } = this;
    const { queue } = stream.ingest;
    while (at < end && stream.reading) {
      if (queue.full) return at;
      if (this.#split !== undefined) {
        at = this.#fillSplit(bytes, at, end);
        continue;
      }
      if (this.#prefixFilled > 0 || end - at < PREFIX_BYTES) {
        this.#prefix[this.#prefixFilled++] = bytes[at++]!;
        if (this.#prefixFilled < PREFIX_BYTES) continue;
        this.#prefixFilled = 0;
        const length = this.#messageLength(this.#prefix, 0);
        if (length === 0) stream.message(bytes, at, at);
        else if (length > 0) this.#startSplit(length, end - at);
        continue;
      }
      const length = this.#messageLength(bytes, at);
      if (length < 0) break;
      at += PREFIX_BYTES;
      if (length <= end - at) stream.message(bytes, at, at += length);
      else this.#startSplit(length, end - at);
    }
    return end;
  }

  /** Length of the message whose prefix is at `at`; -1 if it is refused. */
  #messageLength(bytes: Uint8Array, at: number): number {
    if (bytes[at] !== 0) {
      this.stream.fail(
        new RequestError("INVALID_ARGUMENT", "a compressed message, but grpc-encoding is not set"),
      );
      return -1;
    }
    const length = bytes[at + 1]! * 2 ** 24 + (bytes[at + 2]! << 16 | bytes[at + 3]! << 8 | bytes[at + 4]!);
    if (length > this.maxMessageBytes) {
      const limit =
        `a message of ${length} bytes is over the limit of ${this.maxMessageBytes}: send smaller ones`;
      this.stream.fail(new RequestError("RESOURCE_EXHAUSTED", limit));
      return -1;
    }
    return length;
  }

  /** Memory follows what arrives, not what the prefix promises. */
  #startSplit(length: number, available: number): void {
    this.#splitLength = length;
    this.#splitFilled = 0;
    this.#split = new Uint8Array(Math.min(length, Math.max(4 * available, 1024)));
  }

  /** Copies from `bytes[at, end)`; returns behind what it took. */
  #fillSplit(bytes: Uint8Array, at: number, end: number): number {
    let split = this.#split!;
    const taken = Math.min(this.#splitLength - this.#splitFilled, end - at);
    if (this.#splitFilled + taken > split.length) {
      const larger = new Uint8Array(Math.min(this.#splitLength, 2 * (this.#splitFilled + taken)));
      larger.set(split);
      split = this.#split = larger;
    }
    split.set(bytes.subarray(at, at + taken), this.#splitFilled);
    this.#splitFilled += taken;
    if (this.#splitFilled === this.#splitLength) {
      this.#split = undefined;
      this.stream.message(split, 0, this.#splitLength);
    }
    return at + taken;
  }
}

const responseHeaders = {
  ":status": 200,
  "content-type": "application/grpc+proto",
  "grpc-accept-encoding": "identity,deflate,gzip",
};

/** How long a device may take to close its side of a call that ended early. */
const EARLY_END_GRACE_MS = 100;

/** The device's end of an HTTP/2 stream. */
class FastCall implements StreamCall {
  #over = false;

  constructor(readonly http2Stream: ServerHttp2Stream) {}

  /** The device took its stream back, or its connection is gone: `respond` and `sendTrailers` would throw. */
  get #gone(): boolean {
    return this.http2Stream.destroyed || this.http2Stream.closed;
  }

  sendHeaders(committed: number | undefined): void {
    const { http2Stream } = this;
    if (this.#gone || http2Stream.headersSent) return;
    const headers = {
      ...responseHeaders,
      ...(committed !== undefined && { [COMMITTED_KEY]: String(committed) }),
    };
    http2Stream.respond(headers, { waitForTrailers: true });
  }

  sendAck(ack: Ack, whenWritable: () => void): boolean {
    const { http2Stream } = this;
    if (this.#over || this.#gone) return true;
    this.sendHeaders(undefined);
    const message = streamPackets.responseSerialize(ack);
    const framed = new Uint8Array(PREFIX_BYTES + message.length);
    new DataView(framed.buffer).setUint32(1, message.length);
    framed.set(message, PREFIX_BYTES);
    const writable = http2Stream.write(framed);
    if (!writable) http2Stream.once("drain", whenWritable);
    return writable;
  }

  end(error: unknown, committed: number): void {
    const { http2Stream } = this;
    if (this.#over || this.#gone) return;
    this.#over = true;
    const trailers: Record<string, string> = { "grpc-status": "0" };
    if (error !== undefined) {
      const { code, details } = grpcStatus(error);
      trailers["grpc-status"] = String(code);
      trailers["grpc-message"] = encodeURI(details);
      trailers[COMMITTED_KEY] = String(committed);
    }
    if (!http2Stream.headersSent) {
      // gRPC's "Trailers-Only": headers of their own would tell the device that it has its session.
      http2Stream.respond({ ...responseHeaders, ...trailers }, { endStream: true });
      return this.#stopReading();
    }
    http2Stream.once("wantTrailers", () => {
      if (this.#gone) return;
      http2Stream.sendTrailers(trailers);
      this.#stopReading();
    });
    http2Stream.end();
  }

  /**
   * What the device still sends is of no use. Most close their side at the sight of trailers; the others are
   * told by RST_STREAM with NO_ERROR (RFC 9113, 8.1), which must not overtake the trailers.
   */
  #stopReading(): void {
    const { http2Stream } = this;
    if (http2Stream.readableEnded) return;
    const timer = setTimeout(() => http2Stream.close(constants.NGHTTP2_NO_ERROR), EARLY_END_GRACE_MS);
    http2Stream.once("close", () => clearTimeout(timer));
  }
}
