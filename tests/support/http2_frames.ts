/**
 * Writes and reads HTTP/2 frames (RFC 9113), and header blocks without a dynamic table (RFC 7541), as far as a gRPC
 * client needs them: for frames that no library sends, and for load, where a library's cost per message would hide what
 * is measured.
 *
 * @module
 */

import { FRAME_HEADER_BYTES, SETTINGS, WINDOW_UPDATE } from "./http2_numbers.ts";

/** Writes a frame's header to `bytes` at `at`. */
export function writeFrameHeader(
  bytes: Uint8Array,
  at: number,
  length: number,
  type: number,
  flags: number,
  streamId: number,
): void {
  bytes[at] = length >> 16;
  bytes[at + 1] = length >> 8;
  bytes[at + 2] = length;
  bytes[at + 3] = type;
  bytes[at + 4] = flags;
  writeStreamId(bytes, at, streamId);
}

/** Changes the stream id of the frame whose header is at `at`. */
export function writeStreamId(bytes: Uint8Array, at: number, streamId: number): void {
  bytes[at + 5] = streamId >>> 24;
  bytes[at + 6] = streamId >> 16;
  bytes[at + 7] = streamId >> 8;
  bytes[at + 8] = streamId;
}

/** One frame. */
export function frame(
  type: number,
  flags: number,
  streamId: number,
  payload: ArrayLike<number> = [],
): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEADER_BYTES + payload.length);
  writeFrameHeader(bytes, 0, payload.length, type, flags, streamId);
  bytes.set(payload, FRAME_HEADER_BYTES);
  return bytes;
}

/** A SETTINGS frame of identifiers and values. */
export function settings(...entries: (readonly [identifier: number, value: number])[]): Uint8Array {
  const payload = new DataView(new ArrayBuffer(6 * entries.length));
  entries.forEach(([identifier, value], index) => {
    payload.setUint16(6 * index, identifier);
    payload.setUint32(6 * index + 2, value);
  });
  return frame(SETTINGS, 0, 0, new Uint8Array(payload.buffer));
}

/** A WINDOW_UPDATE frame; stream 0 is the connection. */
export function windowUpdate(streamId: number, bytes: number): Uint8Array {
  const payload = new DataView(new ArrayBuffer(4));
  payload.setUint32(0, bytes);
  return frame(WINDOW_UPDATE, 0, streamId, new Uint8Array(payload.buffer));
}

/** A header block of literals without indexing. Values are ASCII of at most 126 bytes. */
export function headerBlock(headers: Readonly<Record<string, string>>): Uint8Array {
  const encoder = new TextEncoder();
  return joined(
    ...Object.entries(headers).map(([name, value]) =>
      joined(
        Uint8Array.of(0, name.length),
        encoder.encode(name),
        Uint8Array.of(value.length),
        encoder.encode(value),
      )
    ),
  );
}

/** The headers of a block with literal names, such as `grpc-status`; indexed names, such as `:status`, are skipped. */
export function readHeaders(block: Uint8Array): Map<string, string> {
  const headers = new Map<string, string>();
  let at = 0;
  const integer = (prefixBits: number): number => {
    const most = 2 ** prefixBits - 1;
    let value = block[at++]! & most;
    if (value < most) return value;
    for (let shift = 0;; shift += 7) {
      const byte = block[at++]!;
      value += (byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  const string = (): string => {
    const huffman = (block[at]! & 128) !== 0;
    const length = integer(7);
    const bytes = block.subarray(at, at += length);
    return huffman ? huffmanDecoded(bytes) : String.fromCharCode(...bytes);
  };
  while (at < block.length) {
    const first = block[at]!;
    if (first & 128) integer(7); // name and value from the table
    else if ((first & 0b1110_0000) === 0b0010_0000) integer(5); // size of the dynamic table
    else {
      const index = integer(first & 64 ? 6 : 4);
      const name = index === 0 ? string() : undefined;
      const value = string();
      if (name !== undefined) headers.set(name, value);
    }
  }
  return headers;
}

/** Printable characters by the length of their code; the code is canonical (RFC 7541, appendix B). */
const huffmanCharacters: Readonly<Record<number, string>> = {
  5: "012aceiost",
  6: " %-./3456789=A_bdfghlmnpru",
  7: ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
  8: "&*,;XZ",
  10: '!"()?',
  11: "'+|",
  12: "#>",
  13: "\0$@[]~",
  14: "^}",
  15: "<`{",
};

const huffmanCodes = new Map<string, string>();
for (let length = 5, code = 0; length <= 15; length++, code *= 2) {
  for (const character of huffmanCharacters[length] ?? "") {
    huffmanCodes.set((code++).toString(2).padStart(length, "0"), character);
  }
}

function huffmanDecoded(bytes: Uint8Array): string {
  let text = "", code = "";
  for (const byte of bytes) {
    for (const bit of byte.toString(2).padStart(8, "0")) {
      code += bit;
      const character = huffmanCodes.get(code);
      if (character === undefined) continue;
      text += character;
      code = "";
    }
  }
  return text;
}

/** Called with each frame; the payload is valid during the call only. */
export type OnFrame = (type: number, flags: number, streamId: number, payload: Uint8Array) => void;

/** Finds the frames in what a connection receives. */
export class FrameReader {
  #rest: Uint8Array = new Uint8Array(0);

  /** Reads the next bytes. */
  read(chunk: Uint8Array, onFrame: OnFrame): void {
    const bytes = this.#rest.length === 0 ? chunk : joined(this.#rest, chunk);
    let at = 0;
    while (bytes.length - at >= FRAME_HEADER_BYTES) {
      const end = at + FRAME_HEADER_BYTES + (bytes[at]! << 16 | bytes[at + 1]! << 8 | bytes[at + 2]!);
      if (end > bytes.length) break;
      const streamId = (bytes[at + 5]! & 127) << 24 | bytes[at + 6]! << 16 | bytes[at + 7]! << 8 |
        bytes[at + 8]!;
      onFrame(bytes[at + 3]!, bytes[at + 4]!, streamId, bytes.subarray(at + FRAME_HEADER_BYTES, end));
      at = end;
    }
    this.#rest = bytes.slice(at);
  }
}

/** `parts`, concatenated. */
export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
