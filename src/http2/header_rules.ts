/**
 * Validates the header lists of requests and trailers (RFC 9113, 8.1 to 8.3; RFC 9110, 5.5 and 8.6). A list that breaks a
 * rule is malformed: its stream ends with PROTOCOL_ERROR.
 *
 * @module
 */
import type { HeaderField } from "./hpack/tables.ts";

/** A field name in lower case: token characters (RFC 9110, 5.6.2) without capitals (RFC 9113, 8.2.1). */
const FIELD_NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;

/** NUL, CR and LF anywhere, white space at either end (RFC 9113, 8.2.1). */
const FORBIDDEN_VALUE = /[\0\r\n]|^[ \t]|[ \t]$/;

/** Fields of HTTP/1.1's connections (RFC 9113, 8.2.2). */
const CONNECTION_FIELDS = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

/** The pseudo-header fields of a request (RFC 9113, 8.3.1), with the bit that marks each as seen. */
const PSEUDO_BITS = new Map([[":method", 1], [":scheme", 2], [":path", 4], [":authority", 8]]);

/** The bits of those that every request must have, except CONNECT. */
const REQUIRED_BITS = 1 | 2 | 4;

/** A well-formed request. */
export interface Request {
  /** Value of content-length, bytes of DATA; undefined when the field is missing. */
  readonly contentLength: number | undefined;
}

/** Validates the header list of a request; returns the request, or a description of the rule that the list breaks. */
export function readRequest(fields: readonly HeaderField[]): Request | string {
  let seen = 0, regular = false;
  let method = "", path = "", authority: string | undefined, host: string | undefined;
  let contentLength: number | undefined;
  for (const [name, value] of fields) {
    if (FORBIDDEN_VALUE.test(value)) {
      return `the value of ${quoted(name)} has characters that are not allowed`;
    }
    if (name.charCodeAt(0) === 58 /* : */) {
      const bit = PSEUDO_BITS.get(name);
      if (bit === undefined) return `${quoted(name)} is not a pseudo-header field of requests`;
      if (regular) return `${name} after a regular field`;
      if ((seen & bit) !== 0) return `${name} twice`;
      seen |= bit;
      if (name === ":method") method = value;
      else if (name === ":path") path = value;
      else if (name === ":authority") authority = value;
      continue;
    }
    regular = true;
    const broken = brokenRule(name, value);
    if (broken !== undefined) return broken;
    if (name === "content-length") {
      if (!/^\d{1,15}$/.test(value)) return "content-length is not a number";
      if (contentLength !== undefined && contentLength !== Number(value)) return "two content-lengths";
      contentLength = Number(value);
    } else if (name === "host") host = value;
  }
  if (method === "CONNECT") return "CONNECT is not supported";
  if ((seen & REQUIRED_BITS) !== REQUIRED_BITS) return "a request without :method, :scheme or :path";
  if (!path.startsWith("/") && path !== "*") return ":path is empty or does not begin with /";
  if (authority !== undefined && host !== undefined && authority !== host) {
    return "host differs from :authority";
  }
  return { contentLength };
}

/** Validates trailers; returns a description of the rule that the list breaks, or undefined. */
export function brokenTrailerRule(fields: readonly HeaderField[]): string | undefined {
  for (const [name, value] of fields) {
    if (name.charCodeAt(0) === 58 /* : */) return `${quoted(name)} in trailers`;
    if (FORBIDDEN_VALUE.test(value)) {
      return `the value of ${quoted(name)} has characters that are not allowed`;
    }
    const broken = brokenRule(name, value);
    if (broken !== undefined) return broken;
  }
  return undefined;
}

function brokenRule(name: string, value: string): string | undefined {
  if (!FIELD_NAME.test(name)) return `${quoted(name)} is not a field name in lower case`;
  if (CONNECTION_FIELDS.has(name)) return `${name} is not allowed in HTTP/2`;
  if (name === "te" && value !== "trailers") return "te other than trailers";
  return undefined;
}

function quoted(name: string): string {
  return JSON.stringify(name.slice(0, 40));
}
