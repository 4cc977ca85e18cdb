/**
 * Splits the bytes of a peer into HTTP/2 frames, wherever the chunks of the socket begin and end. DATA is passed on
 * without a copy, in parts as they are received; other frames are passed on whole.
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
  MAX_FRAME_BYTES,
  PADDED,
  PREFACE,
  PROTOCOL_ERROR,
  readPayloadBytes,
  readStreamId,
  readUint32,
  SETTINGS,
} from "./frames.ts";
import { HeaderBlock } from "./header_block.ts";
import type { ConnectionLimits } from "./limits.ts";

/** Receives DATA and HEADERS; exceptions propagate to the caller of {@linkcode FrameReader.read}. */
export interface StreamFrameHandler {
  /** A DATA frame begins. `payloadBytes` includes `paddingBytes`, the padding with its length byte. */
  startData(streamId: number, payloadBytes: number, paddingBytes: number, endStream: boolean): void;
  /** Data of that frame, `bytes[start, end)`; the bytes are not overwritten later. */
  data(bytes: Uint8Array, start: number, end: number): void;
  /** That frame is complete. */
  endData(endStream: boolean): void;
  /** A complete header block, not decoded. `dependsOnItself`: its priority names its own stream, an error. */
  headers(streamId: number, endStream: boolean, block: Uint8Array, dependsOnItself: boolean): void;
}

/** Receives every other frame; exceptions propagate to the caller of {@linkcode FrameReader.read}. */
export interface ControlFrameHandler {
  /** Limits of the connection. */
  readonly limits: ConnectionLimits;
  /** A whole frame; `payload` is valid during the call only. */
  frame(type: number, flags: number, streamId: number, payload: Uint8Array): void;
}

/** Work units that reading a frame takes from {@linkcode FrameReader.workLeft}; its handler may take more. */
const DATA_WORK = 1, FRAME_WORK = 4;

/** First size of the buffer of an incomplete frame, which doubles as bytes arrive: a length alone must not cost memory. */
const FIRST_SPLIT_BYTES = 64;

/** Parses the bytes of one connection. */
export class FrameReader {
  /** Work units until {@linkcode read} returns early; set to {@linkcode ConnectionLimits.workPerTurn} before each read. */
  workLeft = 0;
  /** Complete frames, a header block counted as one; unchanged while one frame stays incomplete. */
  completed = 0;
  #prefaceBytes = 0;
  #hasSettings = false;
  /** Buffer for an incomplete frame (of DATA: for its header), of which `#splitBytes` are filled. */
  #split: Uint8Array | undefined;
  #splitBytes = 0;
  /** The current DATA frame: how much of its data is still to come, and how much of the padding after it. */
  #inData = false;
  #dataLeft = 0;
  #paddingLeft = 0;
  #endsStream = false;
  #block: HeaderBlock | undefined;

  /** Both handlers are called in the order of the frames. */
  constructor(
    readonly streams: StreamFrameHandler,
    readonly control: ControlFrameHandler,
  ) {}

  /** Whether the preface, a frame or a header block is incomplete. */
  get incomplete(): boolean {
    return this.#prefaceBytes < PREFACE.length || this.#split !== undefined || this.#inData ||
      this.#block !== undefined;
  }

  /**
   * Reads `chunk` from `at` on; returns the end offset of what was read, which is less than the chunk's length when
   * {@linkcode workLeft} ran out. Throws {@linkcode Http2Error} for a connection error.
   */
  read(chunk: Uint8Array, at = 0): number {
    if (this.#prefaceBytes < PREFACE.length) at = this.#readPreface(chunk, at);
    while (at < chunk.length && this.workLeft > 0) {
      if (this.#inData) at = this.#readData(chunk, at);
      else if (this.#split !== undefined) at = this.#fillSplit(this.#split, chunk, at);
      else {
        const bytes = this.#readFrame(chunk, at, chunk.length);
        if (bytes === 0) return this.#startSplit(chunk, at);
        at += bytes;
      }
    }
    return at;
  }

  #readPreface(chunk: Uint8Array, at: number): number {
    while (at < chunk.length && this.#prefaceBytes < PREFACE.length) {
      if (chunk[at++] !== PREFACE[this.#prefaceBytes++]) {
        throw new Http2Error(PROTOCOL_ERROR, "this port expects gRPC over HTTP/2 without TLS");
      }
    }
    return at;
  }

  #startSplit(chunk: Uint8Array, at: number): number {
    this.#splitBytes = chunk.length - at;
    this.#split = new Uint8Array(Math.max(FIRST_SPLIT_BYTES, this.#splitBytes));
    this.#split.set(at === 0 ? chunk : chunk.subarray(at));
    return chunk.length;
  }

  /** Copies missing bytes of the incomplete frame from `chunk`; returns the end offset of what was copied. */
  #fillSplit(split: Uint8Array, chunk: Uint8Array, at: number): number {
    const wanted = this.#wantedBytes(split), copied = Math.min(wanted - this.#splitBytes, chunk.length - at);
    if (this.#splitBytes + copied > split.length) {
      this.#split = new Uint8Array(Math.min(wanted, 2 * (this.#splitBytes + copied)));
      this.#split.set(split);
      split = this.#split;
    }
    split.set(chunk.subarray(at, at + copied), this.#splitBytes);
    this.#splitBytes += copied;
    if (this.#splitBytes === wanted) {
      const bytes = this.#readFrame(split, 0, wanted);
      if (bytes > 0) this.#split = undefined;
    }
    return at + copied;
  }

  /** Bytes that the incomplete frame (of DATA: its header) needs in total, as far as is known. */
  #wantedBytes(split: Uint8Array): number {
    if (this.#splitBytes < FRAME_HEADER_BYTES) return FRAME_HEADER_BYTES;
    return split[3] === DATA ? FRAME_HEADER_BYTES + 1 : FRAME_HEADER_BYTES + readPayloadBytes(split, 0);
  }

  /** Reads the frame (of DATA: its header) at `at`; returns its length, or 0 when `bytes[at, end)` is incomplete. */
  #readFrame(bytes: Uint8Array, at: number, end: number): number {
    if (end - at < FRAME_HEADER_BYTES) return 0;
    const payloadBytes = readPayloadBytes(bytes, at), streamId = readStreamId(bytes, at);
    const type = bytes[at + 3]!, flags = bytes[at + 4]!;
    this.#assertExpected(type, streamId, payloadBytes);
    if (type === DATA) {
      return this.#startData(
        streamId,
        flags,
        payloadBytes,
        end - at > FRAME_HEADER_BYTES ? bytes[at + FRAME_HEADER_BYTES]! : -1,
      );
    }
    const frameBytes = FRAME_HEADER_BYTES + payloadBytes;
    if (end - at < frameBytes) return 0;
    this.workLeft -= FRAME_WORK;
    const payload = bytes.subarray(at + FRAME_HEADER_BYTES, at + frameBytes);
    if (type === HEADERS) this.#headers(streamId, flags, payload);
    else if (type === CONTINUATION) this.#continuation(flags, payload);
    else {
      this.completed++;
      this.control.frame(type, flags, streamId, payload);
    }
    return frameBytes;
  }

  #assertExpected(type: number, streamId: number, payloadBytes: number): void {
    if (payloadBytes > MAX_FRAME_BYTES) {
      throw new Http2Error(FRAME_SIZE_ERROR, `a frame of ${payloadBytes} bytes: at most ${MAX_FRAME_BYTES}`);
    }
    if (!this.#hasSettings) {
      if (type !== SETTINGS) throw new Http2Error(PROTOCOL_ERROR, `a frame of type ${type} before SETTINGS`);
      this.#hasSettings = true;
    }
    if (this.#block !== undefined && (type !== CONTINUATION || streamId !== this.#block.streamId)) {
      throw new Http2Error(PROTOCOL_ERROR, `a frame of type ${type} inside a header block`);
    }
  }

  #headers(streamId: number, flags: number, payload: Uint8Array): void {
    if (streamId === 0) throw new Http2Error(PROTOCOL_ERROR, "HEADERS on stream 0");
    const padded = (flags & PADDED) !== 0, prioritized = (flags & HAS_PRIORITY) !== 0;
    const priorityAt = padded ? 1 : 0, start = priorityAt + (prioritized ? 5 : 0);
    if (start > payload.length) {
      throw new Http2Error(FRAME_SIZE_ERROR, "HEADERS shorter than its padding length and priority");
    }
    const end = payload.length - (padded ? payload[0]! : 0);
    if (start > end) throw new Http2Error(PROTOCOL_ERROR, "more padding than the frame holds");
    const dependsOnItself = prioritized && (readUint32(payload, priorityAt) & 0x7fff_ffff) === streamId;
    this.#block = new HeaderBlock(streamId, (flags & END_STREAM) !== 0, dependsOnItself);
    this.#addToBlock(flags, payload.subarray(start, end));
  }

  #continuation(flags: number, payload: Uint8Array): void {
    if (this.#block === undefined) throw new Http2Error(PROTOCOL_ERROR, "CONTINUATION without HEADERS");
    this.#addToBlock(flags, payload);
  }

  #addToBlock(flags: number, fragment: Uint8Array): void {
    const block = this.#block!, complete = (flags & END_HEADERS) !== 0;
    const { maxHeaderBlockBytes, maxHeaderBlockFrames } = this.control.limits;
    if (block.bytes + fragment.length > maxHeaderBlockBytes || block.frames >= maxHeaderBlockFrames) {
      const limit = `a header block above ${maxHeaderBlockBytes} bytes or ${maxHeaderBlockFrames} frames`;
      throw new Http2Error(ENHANCE_YOUR_CALM, limit);
    }
    if (!complete) return block.add(fragment);
    this.#block = undefined;
    this.completed++;
    this.streams.headers(block.streamId, block.endStream, block.endWith(fragment), block.dependsOnItself);
  }

  /** `first`: the payload's first byte, -1 when it was not received yet. Returns the header's length, or 0 as above. */
  #startData(streamId: number, flags: number, payloadBytes: number, first: number): number {
    let headerBytes = FRAME_HEADER_BYTES, paddingBytes = 0;
    if ((flags & PADDED) !== 0) {
      if (payloadBytes === 0) throw new Http2Error(FRAME_SIZE_ERROR, "padded DATA without a padding length");
      // The padding length is read as part of the header.
      if (first < 0) return 0;
      paddingBytes = first + 1;
      headerBytes++;
    }
    if (paddingBytes > payloadBytes) {
      throw new Http2Error(PROTOCOL_ERROR, "more padding than the frame holds");
    }
    this.workLeft -= DATA_WORK;
    this.#dataLeft = payloadBytes - paddingBytes;
    this.#paddingLeft = Math.max(0, paddingBytes - 1);
    this.#endsStream = (flags & END_STREAM) !== 0;
    this.#inData = true;
    this.streams.startData(streamId, payloadBytes, paddingBytes, this.#endsStream);
    this.#endDataWhenComplete();
    return headerBytes;
  }

  /** Passes on the part of the current DATA frame that is in `chunk`; returns its end offset, padding included. */
  #readData(chunk: Uint8Array, at: number): number {
    const dataEnd = Math.min(chunk.length, at + this.#dataLeft);
    const end = Math.min(chunk.length, dataEnd + this.#paddingLeft);
    this.#dataLeft -= dataEnd - at;
    this.#paddingLeft -= end - dataEnd;
    if (dataEnd > at) this.streams.data(chunk, at, dataEnd);
    this.#endDataWhenComplete();
    return end;
  }

  #endDataWhenComplete(): void {
    if (this.#dataLeft + this.#paddingLeft > 0) return;
    this.#inData = false;
    this.completed++;
    this.streams.endData(this.#endsStream);
  }
}
