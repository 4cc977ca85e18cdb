/**
 * Cache of short strings of header blocks, shared by all connections.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import { fnv1a } from "../../runtime/fnv.ts";

/**
 * The latest short text of each hash: a field that thousands of devices send is kept in memory once. A hostile peer can
 * displace entries, but not make the cache larger.
 */
const seen: string[] = Array.from({ length: 256 }, () => "");
const MAX_SEEN_LENGTH = 128;

/** `bytes[start, end)` as Latin-1 text. */
export function cachedText(bytes: Uint8Array, start: number, end: number): string {
  const length = end - start;
  if (length > MAX_SEEN_LENGTH) return latin1(bytes, start, length);
  const hash = fnv1a(bytes, start, end);
  const slot = (hash ^ hash >>> 16) & seen.length - 1;
  const candidate = seen[slot]!;
  return isText(candidate, bytes, start, length) ? candidate : seen[slot] = latin1(bytes, start, length);
}

function isText(candidate: string, bytes: Uint8Array, start: number, length: number): boolean {
  if (candidate.length !== length) return false;
  for (let i = 0; i < length; i++) if (candidate.charCodeAt(i) !== bytes[start + i]) return false;
  return true;
}

function latin1(bytes: Uint8Array, start: number, length: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, length).toString("latin1");
}
