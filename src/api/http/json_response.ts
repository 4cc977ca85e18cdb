/**
 * JSON that is made for one request: compressed if the client accepts that and the body is large enough, and not
 * sent again to a client that has it.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { promisify } from "node:util";
import { gzip } from "node:zlib";

import type { Context } from "@hono/hono";

import { notModified } from "./conditional.ts";
import { chooseEncoding, MIN_GZIP_BYTES } from "./negotiate.ts";

const gzipped = promisify(gzip);

/**
 * The response to a GET or HEAD with `body` as JSON, or a 304 where `If-None-Match` names it. The entity tag is
 * weak: bodies that differ only in the milliseconds of the moment they were made (`now_ms`, `until_ms`) have the
 * same.
 */
export async function jsonResponse<Body>(c: Context, body: Body): Promise<Response> {
  const text = JSON.stringify(body);
  const withoutMs = text.replace(/"(now|until)_ms":(\d+)\d{3}/g, '"$1_s":$2');
  const etag = `W/"${createHash("sha256").update(withoutMs).digest("base64url").slice(0, 22)}"`;
  c.header("Cache-Control", "no-cache");
  c.header("Vary", "Accept-Encoding", { append: true });
  const unchanged = notModified(c, etag);
  if (unchanged !== undefined) return unchanged;
  c.header("Content-Type", "application/json");
  const plain = new TextEncoder().encode(text);
  const isWorthIt = plain.length >= MIN_GZIP_BYTES;
  if (!isWorthIt || chooseEncoding(c.req.header("Accept-Encoding")) === "identity") return c.body(plain);
  c.header("Content-Encoding", "gzip");
  // Level 1: 0.5 ms for the 42 KB of /fleet, which leaves a tenth of them.
  return c.body(new Uint8Array(await gzipped(plain, { level: 1 })));
}
