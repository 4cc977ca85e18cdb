/**
 * The quick way from HTTP/2 to a {@linkcode DeviceStream}: messages are found in the DATA chunks where
 * they lie, without grpc-js's machinery per message, which costs more than all the rest together.
 *
 * @module
 */
import { grpcStatus, RequestError } from "../errors.ts";
import {
  type Ack,
  COMMITTED_KEY,
  OFFSET_KEY,
  SERVICE_NAMES,
  SESSION_KEY,
  streamPackets,
} from "../telemetry_proto.ts";
import type { HeaderField } from "../http2/hpack.ts";
import type { Accept } from "../http2/connection.ts";
import type { Http2Stream, StreamReader } from "../http2/stream.ts";
import { DeviceStream, type Ingest, parseStreamHead, type StreamCall, type StreamKind } from "./stream.ts";

const kinds = new Map<string, StreamKind>(SERVICE_NAMES.flatMap((service) => [
  [`/${service}/StreamPackets`, "packets"],
  [`/${service}/StreamBatches`, "batches"],
]));

/** Takes the telemetry calls whose messages are not compressed; the others are grpc-js's. */
export function acceptTelemetry(ingest: Ingest, maxMessageBytes: number): Accept {
  return (headers) => {
    const kind = kinds.get(valueOf(headers, ":path") ?? "");
    const taken = kind !== undefined && valueOf(headers, ":method") === "POST" &&
      /^application\/grpc(\+proto)?$/.test(valueOf(headers, "content-type") ?? "") &&
      (valueOf(headers, "grpc-encoding") ?? "identity") === "identity";
    return taken ? (stream) => receive(stream, headers, kind, ingest, maxMessageBytes) : undefined;
  };
}

function receive(
  http2Stream: Http2Stream,
  headers: readonly HeaderField[],
  kind: StreamKind,
  ingest: Ingest,
  maxMessageBytes: number,
): void {
  const call = new FastCall(http2Stream);
  let head;
  try {
    head = parseStreamHead(valueOf(headers, SESSION_KEY), valueOf(headers, OFFSET_KEY));
  } catch (error) {
    return call.end(error, 0);
  }
  const stream = new DeviceStream(ingest, kind, head, call);
  const reader = http2Stream.reader = new MessageReader(stream, http2Stream, maxMessageBytes);
  if (head.session === undefined) reader.goOn();
  else stream.claimSession(head.session).then(() => reader.goOn());
}

/** The value of a header; of one that came several times, all of them. */
function valueOf(headers: readonly HeaderField[], name: string): string | undefined {
  let value: string | undefined;
  for (const [key, next] of headers) {
    if (key === name) value = value === undefined ? next : `${value},${next}`;
  }
  return value;
}

/** Bytes before each message: one for "compressed", four for the length, big-endian. */
const PREFIX_BYTES = 5;

/** Small chunks that wait are put together to pieces of this size. */
const WAITING_PIECE_BYTES = 4096;

const nothing = new Uint8Array(0);

/** Finds the messages in a stream's chunks and gives them to it as long as the queue has room. */
class MessageReader implements StreamReader {
  /** A message that spans chunks: its bytes so far, and how many it will have. */
  #split: Uint8Array | undefined;
  #splitFilled = 0;
  #splitLength = 0;
  readonly #prefix = new Uint8Array(PREFIX_BYTES);
  #prefixFilled = 0;
  /** What waits for room in the queue, or for the first {@linkcode goOn}; bounded by flow control. */
  #waiting: Uint8Array[] | undefined = [];
  /** The last of what waits, as long as there is room in it. */
  #piece = nothing;
  #pieceFilled = 0;
  #ended = false;
  readonly #goOn = () => this.goOn();

  constructor(
    readonly stream: DeviceStream,
    readonly http2Stream: Http2Stream,
    readonly maxMessageBytes: number,
  ) {}

  get waiting(): boolean {
    return this.#waiting !== undefined;
  }

  read(bytes: Uint8Array, start: number, end: number): void {
    if (this.#waiting !== undefined) return this.#wait(this.#waiting, bytes.subarray(start, end));
    const at = this.#parse(bytes, start, end);
    if (at === end) return;
    this.#waiting = [bytes.slice(at, end)];
    this.#waitForRoom();
  }

  /** Copies: a small rest would keep all that was received with it, and many small ones take more than they are. */
  #wait(waiting: Uint8Array[], bytes: Uint8Array): void {
    if (this.#pieceFilled + bytes.length > this.#piece.length) {
      this.#finishPiece(waiting);
      if (bytes.length >= WAITING_PIECE_BYTES) {
        waiting.push(bytes.slice());
        return;
      }
      this.#piece = new Uint8Array(WAITING_PIECE_BYTES);
    }
    this.#piece.set(bytes, this.#pieceFilled);
    this.#pieceFilled += bytes.length;
  }

  #finishPiece(waiting: Uint8Array[]): void {
    if (this.#pieceFilled > 0) waiting.push(this.#piece.subarray(0, this.#pieceFilled));
    this.#piece = nothing;
    this.#pieceFilled = 0;
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

  /** The call is over, or the device gone: nothing more is read, and what waits is let go. */
  close(): void {
    this.stream.ingest.queue.forget(this.#goOn);
    this.#waiting = undefined;
    this.#piece = nothing;
    this.#pieceFilled = 0;
    this.#split = undefined;
    this.stream.cancelled();
  }

  /** Reads what waits. */
  goOn(): void {
    const waiting = this.#waiting ?? [];
    this.#finishPiece(waiting);
    for (let first; (first = waiting[0]) !== undefined; waiting.shift()) {
      const at = this.#parse(first, 0, first.length);
      if (at === first.length) continue;
      waiting[0] = first.subarray(at);
      return this.#waitForRoom();
    }
    this.#waiting = undefined;
    this.http2Stream.resume();
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

const responseHeaders: readonly HeaderField[] = [
  [":status", "200"],
  ["content-type", "application/grpc+proto"],
  ["grpc-accept-encoding", "identity,deflate,gzip"],
];

/** The device's end of an HTTP/2 stream. */
class FastCall implements StreamCall {
  #over = false;

  constructor(readonly http2Stream: Http2Stream) {}

  sendHeaders(committed: number | undefined): void {
    if (this.http2Stream.headersSent) return;
    const fields = committed === undefined
      ? responseHeaders
      : [...responseHeaders, [COMMITTED_KEY, String(committed)] as const];
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
    const trailers: HeaderField[] = [];
    if (error === undefined) trailers.push(["grpc-status", "0"]);
    else {
      const { code, details } = grpcStatus(error);
      trailers.push(["grpc-status", String(code)], ["grpc-message", encodeURI(details)]);
      trailers.push([COMMITTED_KEY, String(committed)]);
    }
    // Without headers, gRPC's "Trailers-Only": headers of their own would tell the device that it has its session.
    if (this.http2Stream.headersSent) this.http2Stream.end(trailers);
    else this.http2Stream.sendHeaders([...responseHeaders, ...trailers], true);
  }
}
