/**
 * Content negotiation: what a client accepts, from its request headers.
 *
 * @module
 */
import { type Accept, parseAccept } from "@hono/hono/utils/accept";

/** The two forms of `/metrics`. */
export type Form = "json" | "prometheus";

/** How a body is encoded on its way. */
export type Encoding = "identity" | "gzip";

/**
 * Prometheus text when `Accept` prefers `text/plain` or OpenMetrics to JSON, else JSON: also when the header is
 * absent, invalid, a browser's, or accepts both equally. A client that accepts neither gets JSON too, which HTTP
 * allows and which is more use than a 406.
 *
 * OpenMetrics clients get the older text, which they all parse; its content type is the older one's.
 */
export function chooseForm(accept: string | undefined): Form {
  const ranges = parseAccept(accept ?? "");
  const text = Math.max(
    quality(ranges, ["text/plain", "text/*", "*/*"]),
    quality(ranges, ["application/openmetrics-text"]),
  );
  return text > quality(ranges, ["application/json", "application/*", "*/*"]) ? "prometheus" : "json";
}

/** Bodies below this many bytes fit a network packet or two and are not worth compressing. */
export const MIN_GZIP_BYTES = 1_024;

/** gzip when `Accept-Encoding` allows it and does not prefer an unencoded body. */
export function chooseEncoding(acceptEncoding: string | undefined): Encoding {
  const ranges = parseAccept(acceptEncoding ?? "");
  const gzip = quality(ranges, ["gzip", "*"]);
  return gzip > 0 && gzip >= quality(ranges, ["identity"]) ? "gzip" : "identity";
}

/**
 * Whether a problem should be labelled `application/json`: `Accept` prefers that to `application/problem+json`, as it
 * does when it has neither the latter nor a wildcard.
 */
export function prefersPlainJson(accept: string | undefined): boolean {
  const ranges = parseAccept(accept ?? "");
  const others = ["application/*", "*/*"];
  return quality(ranges, ["application/json", ...others]) >
    quality(ranges, ["application/problem+json", ...others]);
}

/** The greatest q-value of the first of `names`, the most specific first, that `ranges` have; 0 if none. */
function quality(ranges: readonly Accept[], names: readonly string[]): number {
  for (const name of names) {
    const named = ranges.filter((range) => range.type.toLowerCase() === name);
    if (named.length > 0) return Math.max(...named.map((range) => range.q));
  }
  return 0;
}
