/**
 * FNV-1a: a fast hash of short texts, not for secrets.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9923 FNV
 *
 * @module
 */

const OFFSET = 0x811c_9dc5, PRIME = 0x0100_0193;

/** The 32-bit hash of `bytes[start, end)`, as a signed integer. `offset`: what it begins with; default: FNV's own. */
export function fnv1a(bytes: Uint8Array, start: number, end: number, offset = OFFSET): number {
  let hash = offset;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, PRIME);
  return hash;
}

/** As {@linkcode fnv1a}, of a text in UTF-8; undefined: it has other characters than ASCII. */
export function fnv1aOfAscii(text: string): number | undefined {
  let hash = OFFSET;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 127) return undefined;
    hash = Math.imul(hash ^ code, PRIME);
  }
  return hash;
}
