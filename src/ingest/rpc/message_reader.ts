/**
 * Finds the messages in a telemetry stream's DATA without copying them, and passes them to a {@linkcode DeviceStream} as
 * long as the queue has room.
 *
 * @module
 */
import { PREFIX_BYTES } from "../../http2/bridged_call.ts";
import { StallDetector } from "../../http2/stall_detector.ts";
import type { Http2Stream, StreamReader } from "../../http2/stream.ts";
import { WaitingBytes } from "../../http2/waiting_bytes.ts";
import { RequestError } from "../../protocol/request_error.ts";
import type { DeviceStream } from "../stream/device_stream.ts";
import { type Encoding, type Inflater, type Inflating, unexpectedlyCompressed } from "./inflater.ts";
import { type MessageMemory, SMALL_MESSAGE_BYTES, tooManyLargeMessages } from "./message_memory.ts";

/** What the readers of a process share. */
export interface ReaderOptions {
  /** Longest message, also when inflated. */
  readonly maxMessageBytes: number;
  /** Memory for large messages. */
  readonly memory: MessageMemory;
  /** Inflates compressed messages. */
  readonly inflater: Inflater;
}

/** Ticks in which a large message must be complete while others wait for its memory: 30 to 40 s. */
const CONTENDED_TICKS = 3;

/** Work units of inflating a small message; see `ConnectionLimits.workPerTurn`. */
const INFLATE_WORK = 32;

/** Why nothing is read now. */
type Wait = "claim" | "room" | "rate" | "memory" | "inflating" | undefined;

/** Reads one stream; nothing before the first {@linkcode resume}. */
export class MessageReader implements StreamReader, Inflating {
  /** Called when the first bytes arrive, or the peer half-closes, before the first {@linkcode resume}. */
  onFirstBytes: (() => void) | undefined;
  #wait: Wait = "claim";
  /** Made when something waits, and when a message is split; most streams never need them. */
  #waiting: WaitingBytes | undefined;
  #stalls: StallDetector | undefined;
  #prefix: Uint8Array | undefined;
  /** A message that spans chunks: its bytes so far, and how many it will have. */
  #split: Uint8Array | undefined;
  #splitFilled = 0;
  #length = 0;
  #compressed = false;
  #reservedBytes = 0;
  #cancelWait: (() => void) | undefined;
  #prefixFilled = 0;
  /** A message that was inflated while the queue became full. */
  #inflated: Uint8Array | undefined;
  #ended = false;
  #closed = false;
  #messages = 0;
  #ticks = 0;
  /** Made when the stream first waits for room. */
  #resume: (() => void) | undefined;

  /** `connection`: on its account the reader uses what connections share. */
  constructor(
    readonly stream: DeviceStream,
    readonly http2Stream: Http2Stream,
    readonly encoding: Encoding | undefined,
    readonly connection: object,
    readonly options: ReaderOptions,
  ) {}

  /** See {@linkcode StreamReader}. */
  get waiting(): boolean {
    return this.#wait !== undefined;
  }

  /** See {@linkcode Inflating}. */
  get closed(): boolean {
    return this.#closed;
  }

  /** See {@linkcode StreamReader}. */
  get sharesConnection(): boolean {
    return this.#wait === "memory";
  }

  /** See {@linkcode StreamReader}. */
  read(bytes: Uint8Array, start: number, end: number): void {
    this.#stalls?.received(end - start);
    this.#startClaim();
    const at = this.#wait === undefined ? this.#parse(bytes, start, end) : start;
    if (at < end) (this.#waiting ??= new WaitingBytes()).add(bytes.subarray(at, end));
  }

  /** See {@linkcode StreamReader}. */
  end(): void {
    this.#ended = true;
    this.#startClaim();
    if (this.#wait !== undefined) return;
    if (this.#incomplete) {
      this.stream.fail(new RequestError("INVALID_ARGUMENT", "the stream ends inside a message"));
    }
    this.stream.end();
  }

  /** See {@linkcode StreamReader}: what waits is discarded. */
  close(): void {
    this.#closed = true;
    if (this.#resume !== undefined) this.stream.ingest.queue.cancelWait(this.#resume);
    this.#cancelWait?.();
    this.#waiting = undefined;
    this.#release();
    this.stream.cancelled();
  }

  /** See {@linkcode StreamReader}. */
  tick(minProgressBytes: number): void {
    if (!this.stream.reading || this.#wait !== undefined) return;
    const { memory } = this.options;
    this.#ticks++;
    if (this.#stalls?.tick(this.#incomplete ? this.#messages : undefined, minProgressBytes)) {
      const found = `less than ${minProgressBytes} bytes of a message arrived in ten seconds`;
      this.#giveUp(new RequestError("UNAVAILABLE", `${found}: connect again`));
    } else if (this.#reservedBytes > 0 && this.#ticks > CONTENDED_TICKS && memory.contended) {
      this.#giveUp(tooManyLargeMessages());
    }
  }

  /** Reads what waits. */
  resume(): void {
    if (this.#closed) return;
    this.#wait = undefined;
    if (this.#inflated !== undefined && !this.#deliverInflated(this.#inflated)) return;
    const waiting = this.#waiting;
    for (let first; (first = waiting?.first()) !== undefined;) {
      waiting!.consumed(this.#parse(first, 0, first.length));
      if (this.#wait !== undefined) return;
    }
    this.#waiting = undefined;
    this.http2Stream.resume();
    if (this.#ended) this.end();
  }

  get #incomplete(): boolean {
    return this.#split !== undefined || this.#prefixFilled > 0;
  }

  #startClaim(): void {
    if (this.onFirstBytes === undefined) return;
    this.onFirstBytes();
    this.onFirstBytes = undefined;
  }

  #giveUp(error: RequestError): void {
    this.#release();
    this.stream.fail(error);
  }

  #release(): void {
    this.#split = undefined;
    if (this.#reservedBytes > 0) this.options.memory.release(this.connection, this.#reservedBytes);
    this.#reservedBytes = 0;
  }

  /** In the queue, or for the stream's rates. */
  #waitForRoom(): void {
    const { paceMs } = this.stream, { queue, counters } = this.stream.ingest;
    if (paceMs > 0) {
      this.#wait = "rate";
      counters.streamsPaced++;
      const timer = setTimeout(() => this.resume(), paceMs);
      this.#cancelWait = () => clearTimeout(timer);
      return;
    }
    this.#wait = "room";
    counters.queueFull++;
    queue.waitForRoom(this.#resume ??= () => this.resume());
  }

  /**
   * Reads `bytes[at, end)` until it must wait; returns the end offset of what it read. Once the stream does not read any
   * more, the rest is skipped.
   */
  #parse(bytes: Uint8Array, at: number, end: number): number {
    const { stream } = this;
    const { queue } = stream.ingest;
    while (at < end && stream.reading) {
      if (queue.full || stream.paceMs > 0) {
        this.#waitForRoom();
        return at;
      }
      if (this.#split !== undefined) at = this.#fillSplit(this.#split, bytes, at, end);
      else if (this.#prefixFilled > 0 || end - at < PREFIX_BYTES) {
        const prefix = this.#prefix ??= this.#startPrefix();
        prefix[this.#prefixFilled++] = bytes[at++]!;
        if (this.#prefixFilled < PREFIX_BYTES) continue;
        this.#prefixFilled = 0;
        if (this.#readPrefix(prefix, 0)) at = this.#begin(bytes, at, end);
      } else if (this.#readPrefix(bytes, at)) at = this.#begin(bytes, at + PREFIX_BYTES, end);
      if (this.#wait !== undefined) return at;
    }
    return end;
  }

  #startPrefix(): Uint8Array {
    this.#stalls ??= new StallDetector();
    return new Uint8Array(PREFIX_BYTES);
  }

  /** Reads the prefix at `at`; false if the message is refused. */
  #readPrefix(bytes: Uint8Array, at: number): boolean {
    this.#compressed = bytes[at] !== 0;
    if (this.#compressed && this.encoding === undefined) {
      this.stream.fail(unexpectedlyCompressed());
      return false;
    }
    const length = bytes[at + 1]! * 2 ** 24 + (bytes[at + 2]! << 16 | bytes[at + 3]! << 8 | bytes[at + 4]!);
    const { maxMessageBytes } = this.options;
    if (length > maxMessageBytes) {
      const limit = `a message of ${length} bytes is over the limit of ${maxMessageBytes}: send smaller ones`;
      this.stream.fail(new RequestError("RESOURCE_EXHAUSTED", limit));
      return false;
    }
    this.#length = length;
    return true;
  }

  /** The message after a prefix: whole, or the beginning of it. Returns the end offset of what was read. */
  #begin(bytes: Uint8Array, at: number, end: number): number {
    const length = this.#length;
    if (length <= end - at) {
      this.#message(bytes, at, at + length);
      return at + length;
    }
    if (length > SMALL_MESSAGE_BYTES && !this.#reserve(length)) return at;
    this.#startSplit(end - at);
    return at;
  }

  /** False: the stream waits for memory, or ends because too many do. */
  #reserve(length: number): boolean {
    const { memory } = this.options;
    if (!memory.reserve(this.connection, length)) {
      this.#cancelWait = memory.wait(this.connection, length, () => {
        this.#cancelWait = undefined;
        this.#reservedBytes = length;
        this.#startSplit(0);
        this.resume();
      });
      if (this.#cancelWait === undefined) this.stream.fail(tooManyLargeMessages());
      else this.#wait = "memory";
      return false;
    }
    this.#reservedBytes = length;
    return true;
  }

  /** Memory follows what arrives, not what the prefix promises. */
  #startSplit(available: number): void {
    this.#stalls ??= new StallDetector();
    this.#ticks = 0;
    this.#splitFilled = 0;
    this.#split = new Uint8Array(Math.min(this.#length, Math.max(4 * available, 1024)));
  }

  /** Copies from `bytes[at, end)`; returns the end offset of what it copied. */
  #fillSplit(split: Uint8Array, bytes: Uint8Array, at: number, end: number): number {
    const length = this.#length, copied = Math.min(length - this.#splitFilled, end - at);
    if (this.#splitFilled + copied > split.length) {
      const larger = new Uint8Array(Math.min(length, 2 * (this.#splitFilled + copied)));
      larger.set(split);
      split = this.#split = larger;
    }
    split.set(bytes.subarray(at, at + copied), this.#splitFilled);
    this.#splitFilled += copied;
    if (this.#splitFilled === length) {
      this.#release();
      this.#message(split, 0, length);
    }
    return at + copied;
  }

  /** A whole message, `bytes[start, end)`. */
  #message(bytes: Uint8Array, start: number, end: number): void {
    this.#messages++;
    if (!this.#compressed) return this.stream.message(bytes, start, end);
    this.http2Stream.host.spendWork(INFLATE_WORK);
    const { inflater } = this.options;
    const result = inflater.inflate(this, this.encoding!, bytes.subarray(start, end));
    if (result === undefined) this.#wait = "inflating";
    else if (result instanceof RequestError) this.stream.fail(result);
    else this.stream.message(result, 0, result.length);
  }

  /** See {@linkcode Inflating}. */
  inflated(result: Uint8Array | RequestError): void {
    if (!(result instanceof RequestError)) this.#inflated = result;
    else this.stream.fail(result);
    this.resume();
  }

  /** False: the queue became full meanwhile. */
  #deliverInflated(bytes: Uint8Array): boolean {
    const { stream } = this;
    if (stream.reading && (stream.ingest.queue.full || stream.paceMs > 0)) {
      this.#waitForRoom();
      return false;
    }
    this.#inflated = undefined;
    if (stream.reading) stream.message(bytes, 0, bytes.length);
    return true;
  }
}
