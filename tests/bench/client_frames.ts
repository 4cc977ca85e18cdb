/**
 * What the HTTP/2 clients of the bench have in common: how they begin, and what they reply to any server.
 *
 * @module
 */
import { frame, FrameReader, headerBlock, joined, settings, windowUpdate } from "../support/http2_frames.ts";
import {
  ACK,
  CLIENT_PREFACE,
  HEADER_TABLE_SIZE,
  INITIAL_WINDOW_SIZE,
  PING,
  SETTINGS,
} from "../support/http2_numbers.ts";

/** A frame as it was received. */
export type Received = readonly [type: number, flags: number, streamId: number, payload: Uint8Array];

/** The header block of a call. */
export function callHeaders(path: string, authority: string): Uint8Array {
  return headerBlock({
    ":method": "POST",
    ":scheme": "http",
    ":path": path,
    ":authority": authority,
    "content-type": "application/grpc",
    te: "trailers",
  });
}

/** The first bytes of a connection; `windowBytes`: what the server may send, in all and on each stream. */
export function connectionPreface(windowBytes: number): Uint8Array {
  return joined(
    CLIENT_PREFACE,
    settings([HEADER_TABLE_SIZE, 0], [INITIAL_WINDOW_SIZE, windowBytes]),
    windowUpdate(0, windowBytes),
  );
}

/** The reply that a frame requires; undefined: none. */
export function replyTo([type, flags, , payload]: Received): Uint8Array | undefined {
  if (flags & ACK) return undefined;
  if (type === SETTINGS) return frame(SETTINGS, ACK, 0);
  if (type === PING) return frame(PING, ACK, 0, payload.slice());
}

/** The initial window of a stream in SETTINGS; undefined: they have none. */
export function initialWindowOf(payload: Uint8Array): number | undefined {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  for (let at = 0; at < payload.length; at += 6) {
    if (view.getUint16(at) === INITIAL_WINDOW_SIZE) return view.getUint32(at + 2);
  }
}

/** Reads frames until the connection ends, which is an error; `onRead` is called after those of one read. */
export async function readFrames(
  tcp: Pick<Deno.TcpConn, "read">,
  bufferBytes: number,
  onFrame: (...received: Received) => void,
  onRead: () => void,
): Promise<never> {
  const buffer = new Uint8Array(bufferBytes), frames = new FrameReader();
  for (;;) {
    const length = await tcp.read(buffer);
    if (length === null) throw new Error("the connection was closed by the server");
    frames.read(buffer.subarray(0, length), onFrame);
    onRead();
  }
}

/** Writes all of it. */
export async function writeAll(tcp: Pick<Deno.TcpConn, "write">, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await tcp.write(at === 0 ? bytes : bytes.subarray(at));
}
