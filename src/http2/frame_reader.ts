/**
 * Finds HTTP/2 frames in what a device sends, however it is cut into chunks. DATA is passed on where it lies
 * and as it comes; of all else, whole frames.
 *
 * @module
 */
import {
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  ENHANCE_YOUR_CALM,
  FRAME_HEADER_BYTES,
  FRAME_SIZE_ERROR,
  HAS_PRIORITY,
  HEADERS,
  Http2Error,
  joined,
  MAX_FRAME_BYTES,
  PADDED,
  PREFACE,
  PROTOCOL_ERROR,
  readPayloadBytes,
  readStreamId,
  SETTINGS,
} from "./frames.ts";

/** Bytes of the frames that carry the headers of one call. */
const MAX_BLOCK_BYTES = 32_768;

/** Who takes the frames; what its methods throw goes to who called {@linkcode Http2Reader.read}. */
export interface FrameTaker {
  /** Whether the DATA of a stream is wanted as whole frames. */
  wantsWhole(streamId: number): boolean;
  /** A frame of DATA begins: `payloadBytes`, of which `paddingBytes` say nothing. */
  startData(streamId: number, payloadBytes: number, paddingBytes: number): void;
  /** DATA of that frame: `bytes[start, end)`, which do not change any more. */
  data(bytes: Uint8Array, start: number, end: number): void;
  /** The frame is over. */
  endData(endStream: boolean): void;
  /** The headers of a stream, still encoded. */
  headers(streamId: number, endStream: boolean, block: Uint8Array): void;
  /** Any other frame, `whole` with its header. */
  frame(type: number, flags: number, streamId: number, payload: Uint8Array, whole: Uint8Array): void;
}

/** Headers of which more is to come. */
interface Block {
  readonly streamId: number;
  readonly endStream: boolean;
  readonly bytes: Uint8Array;
}

/** Reads one connection. */
export class Http2Reader {
  #prefaceBytes = 0;
  #settled = false;
  /** Beginning of a frame whose rest is still to come. */
  #split: Uint8Array | undefined;
  /** The frame of DATA at hand: bytes of it that are to come, and of padding behind them. */
  #inData = false;
  #dataLeft = 0;
  #paddingLeft = 0;
  #endsStream = false;
  #block: Block | undefined;

  /** `taker` is told of the frames in their order. */
  constructor(readonly taker: FrameTaker) {}

  /** Reads what came next; throws {@linkcode Http2Error} where that is not HTTP/2. */
  read(chunk: Uint8Array): void {
    if (this.#split !== undefined) {
      chunk = joined(this.#split, chunk);
      this.#split = undefined;
    }
    let at = this.#prefaceBytes < PREFACE.length ? this.#readPreface(chunk) : 0;
    while (at < chunk.length) {
      if (this.#inData) {
        at = this.#readData(chunk, at);
        continue;
      }
      const bytes = this.#readFrame(chunk, at);
      if (bytes === 0) {
        this.#split = chunk.slice(at);
        return;
      }
      at += bytes;
    }
  }

  #readPreface(chunk: Uint8Array): number {
    let at = 0;
    while (at < chunk.length && this.#prefaceBytes < PREFACE.length) {
      if (chunk[at++] !== PREFACE[this.#prefaceBytes++]) {
        throw new Http2Error(PROTOCOL_ERROR, "this port speaks gRPC over HTTP/2 without TLS");
      }
    }
    return at;
  }

  /** Reads the frame at `at`, of DATA the beginning; returns its length, or 0 when more must come first. */
  #readFrame(chunk: Uint8Array, at: number): number {
    if (chunk.length - at < FRAME_HEADER_BYTES) return 0;
    const payloadBytes = readPayloadBytes(chunk, at), streamId = readStreamId(chunk, at);
    const type = chunk[at + 3]!, flags = chunk[at + 4]!;
    if (payloadBytes > MAX_FRAME_BYTES) {
      throw new Http2Error(FRAME_SIZE_ERROR, `a frame of ${payloadBytes} bytes: at most ${MAX_FRAME_BYTES}`);
    }
    if (!this.#settled) {
      if (type !== SETTINGS) throw new Http2Error(PROTOCOL_ERROR, "SETTINGS must come first");
      this.#settled = true;
    }
    if (this.#block !== undefined && (type !== CONTINUATION || streamId !== this.#block.streamId)) {
      throw new Http2Error(PROTOCOL_ERROR, "another frame between those of a call's headers");
    }
    if (type === DATA && !this.taker.wantsWhole(streamId)) {
      return this.#startData(chunk, at, payloadBytes, flags, streamId);
    }
    const frameBytes = FRAME_HEADER_BYTES + payloadBytes;
    if (chunk.length - at < frameBytes) return 0;
    const whole = chunk.subarray(at, at + frameBytes), payload = whole.subarray(FRAME_HEADER_BYTES);
    if (type === HEADERS) {
      this.#addToBlock(streamId, flags, (flags & END_STREAM) !== 0, withoutPadding(flags, payload));
    } else if (type === CONTINUATION) {
      if (this.#block === undefined) throw new Http2Error(PROTOCOL_ERROR, "CONTINUATION of nothing");
      const { endStream, bytes } = this.#block;
      this.#addToBlock(streamId, flags, endStream, joined(bytes, payload));
    } else this.taker.frame(type, flags, streamId, payload, whole);
    return frameBytes;
  }

  #addToBlock(streamId: number, flags: number, endStream: boolean, bytes: Uint8Array): void {
    if (bytes.length > MAX_BLOCK_BYTES) {
      throw new Http2Error(ENHANCE_YOUR_CALM, `headers of a call above ${MAX_BLOCK_BYTES} bytes`);
    }
    this.#block = undefined;
    if ((flags & END_HEADERS) !== 0) this.taker.headers(streamId, endStream, bytes);
    else this.#block = { streamId, endStream, bytes: bytes.slice() };
  }

  #startData(chunk: Uint8Array, at: number, payloadBytes: number, flags: number, streamId: number): number {
    let headerBytes = FRAME_HEADER_BYTES, paddingBytes = 0;
    if ((flags & PADDED) !== 0) {
      if (payloadBytes === 0) throw new Http2Error(FRAME_SIZE_ERROR, "a padded frame without its padding");
      // The byte that says how much padding there is, is read with the header.
      if (chunk.length - at === FRAME_HEADER_BYTES) return 0;
      paddingBytes = chunk[at + FRAME_HEADER_BYTES]! + 1;
      headerBytes++;
    }
    if (paddingBytes > payloadBytes) {
      throw new Http2Error(PROTOCOL_ERROR, "more padding than the frame holds");
    }
    this.#dataLeft = payloadBytes - paddingBytes;
    this.#paddingLeft = Math.max(0, paddingBytes - 1);
    this.#endsStream = (flags & END_STREAM) !== 0;
    this.#inData = true;
    this.taker.startData(streamId, payloadBytes, paddingBytes);
    this.#endDataWhenOver();
    return headerBytes;
  }

  /** Reads what `chunk` has of the DATA at hand; returns behind that. */
  #readData(chunk: Uint8Array, at: number): number {
    const dataEnd = Math.min(chunk.length, at + this.#dataLeft);
    const end = Math.min(chunk.length, dataEnd + this.#paddingLeft);
    this.#dataLeft -= dataEnd - at;
    this.#paddingLeft -= end - dataEnd;
    if (dataEnd > at) this.taker.data(chunk, at, dataEnd);
    this.#endDataWhenOver();
    return end;
  }

  #endDataWhenOver(): void {
    if (this.#dataLeft + this.#paddingLeft > 0) return;
    this.#inData = false;
    this.taker.endData(this.#endsStream);
  }
}

/** The payload of HEADERS without its padding and the priority, which nobody heeds any more. */
function withoutPadding(flags: number, payload: Uint8Array): Uint8Array {
  const padded = (flags & PADDED) !== 0;
  const start = (padded ? 1 : 0) + ((flags & HAS_PRIORITY) !== 0 ? 5 : 0);
  const end = payload.length - (padded ? payload[0] ?? 0 : 0);
  if (start > end) throw new Http2Error(PROTOCOL_ERROR, "more padding than the frame holds");
  return payload.subarray(start, end);
}
