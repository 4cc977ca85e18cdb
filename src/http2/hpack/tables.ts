/**
 * What both directions of HPACK share: fields, the static table, sizes and errors (RFC 7541, which the
 * sections named in this folder are of).
 *
 * @module
 */

/**
 * A header field. A character stands for a byte (Latin-1); the name is in lower case, unless the sender
 * broke RFC 9113, 8.2.1, which is not for HPACK to judge.
 */
export type HeaderField = readonly [name: string, value: string];

/** The block is not HPACK: the connection cannot go on (COMPRESSION_ERROR). */
export class HeaderBlockError extends Error {
  /** Tells it from other errors. */
  override readonly name = "HeaderBlockError";
}

/** The static table (appendix A), from index 1. */
export const staticTable: readonly HeaderField[] = [
  [":authority", ""],
  [":method", "GET"],
  [":method", "POST"],
  [":path", "/"],
  [":path", "/index.html"],
  [":scheme", "http"],
  [":scheme", "https"],
  ...["200", "204", "206", "304", "400", "404", "500"].map((code): HeaderField => [":status", code]),
  ["accept-charset", ""],
  ["accept-encoding", "gzip, deflate"],
  ...[
    ..."accept-language accept-ranges accept access-control-allow-origin age allow authorization".split(" "),
    ..."cache-control content-disposition content-encoding content-language content-length".split(" "),
    ..."content-location content-range content-type cookie date etag expect expires from host".split(" "),
    ..."if-match if-modified-since if-none-match if-range if-unmodified-since last-modified".split(" "),
    ..."link location max-forwards proxy-authenticate proxy-authorization range referer refresh".split(" "),
    ..."retry-after server set-cookie strict-transport-security transfer-encoding user-agent".split(" "),
    ..."vary via www-authenticate".split(" "),
  ].map((name): HeaderField => [name, ""]),
];

/** SETTINGS_HEADER_TABLE_SIZE until a setting changes it (RFC 9113, 6.5.2). */
export const DEFAULT_TABLE_BYTES = 4096;

/** What a field counts for beside its name and value (section 4.1; RFC 9113, 6.5.2 for a list). */
const FIELD_OVERHEAD_BYTES = 32;

/** Size of a field in a table or in a header list. */
export function bytesOf(name: string, value: string): number {
  return name.length + value.length + FIELD_OVERHEAD_BYTES;
}
