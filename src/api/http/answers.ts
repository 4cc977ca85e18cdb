/**
 * Responses whose bodies are made for one request: JSON, compressed if the client accepts that and the body is
 * large enough, and not sent again to a client that has it.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { promisify } from "node:util";
import { gzip } from "node:zlib";

import type { Context } from "@hono/hono";

import { httpStatus } from "./http_status.ts";
import { chooseEncoding, matchesEtag, MIN_GZIP_BYTES } from "./negotiate.ts";

const gzipped = promisify(gzip);

/**
 * Answers a GET or HEAD with `body` as JSON; with 304 where `If-None-Match` names it. The entity tag is weak:
 * bodies that differ in nothing but the milliseconds of the moment they were made (`now_ms`, `until_ms`) have
 * the same.
 */
export async function answerJson<Body>(c: Context, body: Body): Promise<Response> {
  const text = JSON.stringify(body);
  const lasting = text.replace(/"(now|until)_ms":(\d+)\d{3}/g, '"$1_s":$2');
  const etag = `W/"${createHash("sha256").update(lasting).digest("base64url").slice(0, 22)}"`;
  c.header("Cache-Control", "no-cache");
  c.header("Vary", "Accept-Encoding", { append: true });
  c.header("ETag", etag);
  if (matchesEtag(c.req.header("If-None-Match"), etag)) return c.body(null, 304);
  c.header("Content-Type", "application/json");
  const plain = new TextEncoder().encode(text);
  const isWorthIt = plain.length >= MIN_GZIP_BYTES;
  if (!isWorthIt || chooseEncoding(c.req.header("Accept-Encoding")) === "identity") return c.body(plain);
  c.header("Content-Encoding", "gzip");
  // Level 1: 0.5 ms for the 42 KB of /fleet, which leaves a tenth of them.
  return c.body(new Uint8Array(await gzipped(plain, { level: 1 })));
}

/** The response to a failed request: its HTTP status, and the message for the client. */
export function answerError(c: Context, error: unknown): Response {
  const { status, message } = httpStatus(error);
  c.header("Cache-Control", "no-store");
  if (status === 503) c.header("Retry-After", "1");
  return c.json({ error: message }, status);
}
