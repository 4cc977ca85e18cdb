/**
 * gRPC over HTTP/2: the header fields of responses.
 *
 * @module
 */
import type { HeaderField } from "../../http2/hpack/tables.ts";
import { grpcStatus } from "./grpc_status.ts";

/** The value of a header; of one that was sent several times, all values, separated by commas. */
export function valueOf(headers: readonly HeaderField[], name: string): string | undefined {
  let value: string | undefined;
  for (const [key, next] of headers) {
    if (key === name) value = value === undefined ? next : `${value},${next}`;
  }
  return value;
}

/** The headers of every response. */
export const responseHeaders: readonly HeaderField[] = [
  [":status", "200"],
  ["content-type", "application/grpc+proto"],
  ["grpc-accept-encoding", "identity,deflate,gzip"],
];

/** How a call ends: the trailers for `error`, or for its absence. */
export function statusFields(error: unknown): HeaderField[] {
  if (error === undefined) return [["grpc-status", "0"]];
  const { code, details } = grpcStatus(error);
  return [["grpc-status", String(code)], ["grpc-message", percentEncoded(details)]];
}

/** The whole response of a call that ends before it began ("Trailers-Only"). */
export function trailersOnly(error: unknown): readonly HeaderField[] {
  return [...responseHeaders, ...statusFields(error)];
}

const encoder = new TextEncoder();

/** gRPC's own rule for grpc-message: printable ASCII but "%" stands for itself, each other byte of UTF-8 is %XX. */
function percentEncoded(text: string): string {
  if (/^[\x20-\x24\x26-\x7e]*$/.test(text)) return text;
  let encoded = "";
  for (const byte of encoder.encode(text)) {
    encoded += byte < 0x20 || byte > 0x7e || byte === 0x25
      ? `%${byte.toString(16).toUpperCase().padStart(2, "0")}`
      : String.fromCharCode(byte);
  }
  return encoded;
}
