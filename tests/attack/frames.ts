/**
 * Frames as attacks need them.
 *
 * @module
 */
import { requestHeaders } from "../http2/raw_connection.ts";
import { windowUpdate, writeFrameHeader } from "../support/http2_frames.ts";
import {
  DATA,
  FRAME_HEADER_BYTES,
  INITIAL_WINDOW_BYTES,
  MAX_WINDOW_BYTES,
} from "../support/http2_numbers.ts";
import type { AttackConnection } from "./attack_connection.ts";

/** `bytes` again and again, `times` times. */
export function repeated(bytes: Uint8Array, times: number): Uint8Array {
  const all = new Uint8Array(bytes.length * times);
  for (let i = 0; i < times; i++) all.set(bytes, i * bytes.length);
  return all;
}

/** Bytes of the writes of a flood, about. */
const VOLLEY_BYTES = 16_384;

/** One write of a flood. */
export function volley(frames: Uint8Array): Uint8Array {
  return repeated(frames, Math.ceil(VOLLEY_BYTES / frames.length));
}

/** Opens `count` calls, from stream 1 on, in one write. */
export async function openCalls(connection: AttackConnection, path: string, count: number): Promise<void> {
  await connection.send(...streamIds(count).map((id) => requestHeaders(id, path)));
}

/** Numbers of `count` streams from `first` on, as a client numbers them. */
export function streamIds(count: number, first = 1): number[] {
  return Array.from({ length: count }, (_, i) => first + 2 * i);
}

/** Opens the connection's window for what is received as far as it goes. */
export const widestWindow: Uint8Array = windowUpdate(0, MAX_WINDOW_BYTES - INITIAL_WINDOW_BYTES);

/** DATA of one gRPC message, uncompressed unless told, in one frame. */
export function messageFrame(
  streamId: number,
  message: Uint8Array,
  { flags = 0, compressed = false } = {},
): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEADER_BYTES + 5 + message.length);
  writeFrameHeader(bytes, 0, 5 + message.length, DATA, flags, streamId);
  bytes[FRAME_HEADER_BYTES] = compressed ? 1 : 0;
  new DataView(bytes.buffer).setUint32(FRAME_HEADER_BYTES + 1, message.length);
  bytes.set(message, FRAME_HEADER_BYTES + 5);
  return bytes;
}
