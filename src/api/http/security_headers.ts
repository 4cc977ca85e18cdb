/**
 * Headers that restrict what browsers do with a response.
 *
 * @module
 */
import type { MiddlewareHandler } from "@hono/hono";
import { secureHeaders } from "@hono/hono/secure-headers";

/** A year, without subdomains, which may be other servers. */
const STRICT_TRANSPORT_SECURITY = "max-age=31536000";

/**
 * Middleware. Pages load from this origin only, and run no script or style that is inline. `isSecure`: the port has TLS,
 * and browsers are to use nothing else.
 */
export function securityHeaders(isSecure: boolean): MiddlewareHandler {
  return secureHeaders({
    contentSecurityPolicy: {
      defaultSrc: ["'none'"],
      scriptSrc: ["'self'"],
      styleSrc: ["'self'"],
      imgSrc: ["'self'", "data:"],
      connectSrc: ["'self'"],
      baseUri: ["'none'"],
      formAction: ["'none'"],
      frameAncestors: ["'none'"],
    },
    xFrameOptions: "DENY",
    // Without TLS here a proxy may add it, and this header.
    strictTransportSecurity: isSecure ? STRICT_TRANSPORT_SECURITY : false,
    // For browsers out of use; each header costs every response some microseconds.
    xDnsPrefetchControl: false,
    xDownloadOptions: false,
    xPermittedCrossDomainPolicies: false,
    xXssProtection: false,
  });
}
