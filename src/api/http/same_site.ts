/**
 * Protection from cross-site request forgery.
 *
 * @module
 */
import type { Context } from "@hono/hono";

import { RequestError } from "../../protocol/request_error.ts";

/**
 * Throws {@linkcode RequestError} for a request from a page of another site. Browsers send `Sec-Fetch-Site` or
 * `Origin`; other programs send neither and pass, which `hono/csrf` would refuse.
 */
export function refuseCrossSite(c: Context): void {
  const site = c.req.header("Sec-Fetch-Site");
  const origin = c.req.header("Origin");
  const isCrossSite = site !== undefined
    ? site !== "same-origin" && site !== "none"
    : origin !== undefined && URL.parse(origin)?.host !== c.req.header("Host");
  if (isCrossSite) {
    throw new RequestError(
      "PERMISSION_DENIED",
      `Cannot ${c.req.method} ${c.req.path}: found a request from a page of another site; use the api's own page, or ` +
        "a program",
    );
  }
}
