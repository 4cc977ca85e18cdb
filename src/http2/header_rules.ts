/**
 * Which header lists are a request, and which are trailers (RFC 9113, 8.1 to 8.3; RFC 9110, 5.5 and 8.6). A list that
 * breaks a rule is malformed: its stream ends with PROTOCOL_ERROR.
 *
 * @module
 */
import type { HeaderField } from "./hpack/tables.ts";

/** A field name in lower case: token characters (RFC 9110, 5.6.2) without capitals (RFC 9113, 8.2.1). */
const FIELD_NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;

/** NUL, CR and LF anywhere, white space at either end (RFC 9113, 8.2.1). */
// deno-lint-ignore no-control-regex
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

/** Those that a request must have, unless it is a CONNECT. */
const REQUIRED_BITS = 1 | 2 | 4;

/** A request as its header list describes it. */
export interface Request {
  /** Bytes of DATA that were announced by content-length. */
  readonly contentLength: number | undefined;
}

/** What a header list is worth: the request, or the rule that it breaks. */
export function readRequest(fields: readonly HeaderField[]): Request | string {
  let seen = 0, regular = false;
  let method = "", path = "", authority: string | undefined, host: string | undefined;
  let contentLength: number | undefined;
  for (const [name, value] of fields) {
    if (FORBIDDEN_VALUE.test(value)) {
      return `the value of ${quoted(name)} has characters that it must not have`;
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
  if (method === "CONNECT") return "CONNECT, which is not served";
  if ((seen & REQUIRED_BITS) !== REQUIRED_BITS) return "a request without :method, :scheme or :path";
  if (!path.startsWith("/") && path !== "*") return ":path is empty or does not begin with /";
  if (authority !== undefined && host !== undefined && authority !== host) {
    return "host differs from :authority";
  }
  return { contentLength };
}

/** The rule that a list of trailers breaks; undefined when it breaks none. */
export function brokenTrailerRule(fields: readonly HeaderField[]): string | undefined {
  for (const [name, value] of fields) {
    if (name.charCodeAt(0) === 58 /* : */) return `${quoted(name)} in trailers`;
    if (FORBIDDEN_VALUE.test(value)) {
      return `the value of ${quoted(name)} has characters that it must not have`;
    }
    const broken = brokenRule(name, value);
    if (broken !== undefined) return broken;
  }
  return undefined;
}

function brokenRule(name: string, value: string): string | undefined {
  if (!FIELD_NAME.test(name)) return `${quoted(name)} is not a field name in lower case`;
  if (CONNECTION_FIELDS.has(name)) return `${name}, which HTTP/2 does not have`;
  if (name === "te" && value !== "trailers") return "te other than trailers";
  return undefined;
}

function quoted(name: string): string {
  return JSON.stringify(name.slice(0, 40));
}
