/**
 * Header fields, the static table, sizes and errors, shared by decoder and encoder. Section numbers in this folder are
 * those of RFC 7541.
 *
 * @module
 */

/**
 * A header field. Each character is one byte (Latin-1). The name is in lower case, unless the sender broke RFC 9113,
 * 8.2.1, which HPACK does not check.
 */
export type HeaderField = readonly [name: string, value: string];

/** The block is not valid HPACK, which ends the connection (COMPRESSION_ERROR). */
export class HeaderBlockError extends Error {
  /** The class's name, shown before the message. */
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

/** Size of a field in addition to its name and value (section 4.1; of a header list: RFC 9113, 6.5.2). */
const FIELD_OVERHEAD_BYTES = 32;

/** Size of a field in a table or in a header list. */
export function bytesOf(name: string, value: string): number {
  return name.length + value.length + FIELD_OVERHEAD_BYTES;
}
