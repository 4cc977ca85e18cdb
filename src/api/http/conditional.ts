/**
 * Conditional requests (RFC 9110, 13).
 *
 * `hono/etag` compares only after the handler, when the body has been made and compressed, and computes a digest
 * of each body without an entity tag, event streams included, which never end.
 *
 * @module
 */
import type { Context } from "@hono/hono";

/** Sets the entity tag of the response; the 304 where `If-None-Match` names it, else undefined. */
export function notModified(c: Context, etag: string): Response | undefined {
  c.header("ETag", etag);
  return matchesEtag(c.req.header("If-None-Match"), etag) ? c.body(null, 304) : undefined;
}

/** True if `If-None-Match` names `etag`, by weak comparison (RFC 9110, 13.1.2), or is `*`. */
function matchesEtag(ifNoneMatch: string | undefined, etag: string): boolean {
  if (ifNoneMatch === undefined) return false;
  const opaque = (tag: string) => tag.trim().replace(/^W\//, "");
  return ifNoneMatch.split(",").map(opaque).some((tag) => tag === opaque(etag) || tag === "*");
}
