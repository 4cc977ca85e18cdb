/**
 * Reads what the engine sends as a strict client does.
 *
 * @module
 */
import { FrameReader } from "../support/http2_frames.ts";
import {
  ACK,
  DATA,
  END_STREAM,
  FRAME_HEADER_BYTES,
  GOAWAY,
  HEADERS,
  MAX_FRAME_BYTES,
  MAX_WINDOW_BYTES,
  PING,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from "../support/http2_numbers.ts";
import type { OnBroken } from "./native_calls.ts";

/** The payloads that a type of fixed length has. */
const payloadBytes = new Map<number, number>([[RST_STREAM, 4], [PING, 8], [WINDOW_UPDATE, 4]]);

/** One connection's replies. */
export class ReplyChecker {
  bytes = 0;
  settingsAcks = 0;
  pingAcks = 0;
  /** The code of the last GOAWAY. */
  goaway: number | undefined;
  /** Bytes of DATA; stream 0 is the connection. */
  readonly dataBytes = new Map<number, number>();
  readonly #frames = new FrameReader();
  readonly #ended = new Set<number>();
  #first = true;
  #whole = 0;

  constructor(readonly onBroken: OnBroken) {}

  /** Takes what comes next. */
  read(bytes: Uint8Array): void {
    this.bytes += bytes.length;
    this.#frames.read(bytes, (type, flags, streamId, payload) => {
      this.#whole += FRAME_HEADER_BYTES + payload.length;
      this.#take(type, flags, streamId, payload);
    });
  }

  /** Nothing more comes. */
  finish(): void {
    if (this.#whole !== this.bytes) this.onBroken("the replies end inside a frame");
  }

  #take(type: number, flags: number, streamId: number, payload: Uint8Array): void {
    const { onBroken } = this;
    const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
    if (this.#first && type !== SETTINGS) onBroken(`the first frame is of type ${type}, and not SETTINGS`);
    this.#first = false;
    if (this.goaway !== undefined && this.goaway !== 0) {
      onBroken(`a frame of type ${type} after GOAWAY with code ${this.goaway}`);
    }
    if (payload.length > MAX_FRAME_BYTES) onBroken(`a frame of ${payload.length} bytes`);
    const length = payloadBytes.get(type);
    if (length !== undefined && payload.length !== length) {
      onBroken(`a frame of type ${type} with ${payload.length} bytes`);
    }
    if (streamId % 2 === 0 && streamId !== 0) {
      onBroken(`a frame of type ${type} on stream ${streamId}, which no client opens`);
    }
    switch (type) {
      case SETTINGS:
        if ((flags & ACK) !== 0) this.settingsAcks++;
        else if (payload.length % 6 !== 0) onBroken("SETTINGS of a wrong length");
        return;
      case PING:
        if ((flags & ACK) !== 0) this.pingAcks++;
        return;
      case GOAWAY:
        this.goaway = view.getUint32(4);
        return;
      case WINDOW_UPDATE:
        if (view.getUint32(0) === 0 || view.getUint32(0) > MAX_WINDOW_BYTES) {
          onBroken("a WINDOW_UPDATE of 0, or above");
        }
        return;
      case RST_STREAM:
        if (streamId === 0) onBroken("RST_STREAM of stream 0");
        this.#ended.add(streamId);
        return;
      case HEADERS:
      case DATA:
        if (streamId === 0) onBroken(`a frame of type ${type} on stream 0`);
        if (this.#ended.has(streamId)) {
          onBroken(`a frame of type ${type} on stream ${streamId}, which was over`);
        }
        if ((flags & END_STREAM) !== 0) this.#ended.add(streamId);
        if (type === HEADERS) return;
        for (const id of [0, streamId]) {
          this.dataBytes.set(id, (this.dataBytes.get(id) ?? 0) + payload.length);
        }
        return;
      default:
        onBroken(`a frame of type ${type}`);
    }
  }
}
