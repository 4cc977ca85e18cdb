/**
 * What a reader can take, read from its request headers.
 *
 * @module
 */
import { type Accept, parseAccept } from "@hono/hono/utils/accept";

/** The two forms of `/metrics`. */
export type Form = "json" | "prometheus";

/** How a body is encoded on its way. */
export type Encoding = "identity" | "gzip";

/**
 * Prometheus text when `Accept` asks for `text/plain` or OpenMetrics more than for JSON, else JSON: also when
 * the header is absent, nonsense, a browser's, or would take both equally. A reader that takes neither gets
 * JSON too, which HTTP allows and which says more than a 406.
 *
 * OpenMetrics readers are given the older text, which each of them reads too; its content type says so.
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

/** The greatest q-value given to the first of `names`, the most specific first, that is there; 0 if none is. */
function quality(ranges: readonly Accept[], names: readonly string[]): number {
  for (const name of names) {
    const named = ranges.filter((range) => range.type.toLowerCase() === name);
    if (named.length > 0) return Math.max(...named.map((range) => range.q));
  }
  return 0;
}
