/**
 * Which host names the api serves. Without authentication, any web page could otherwise read all of it by DNS
 * rebinding: once its own name resolves to this machine, the browser treats the api as the same origin.
 *
 * @module
 */
import { RequestError } from "../protocol/request_error.ts";

/** Checks the `Host` header of requests. */
export class AllowedHosts {
  readonly #names: ReadonlySet<string>;
  readonly #suffixes: readonly string[];
  readonly #any: boolean;
  /** The last host allowed: most requests have the same. */
  #allowedLast: string | undefined;

  /**
   * Besides IP addresses, and `localhost` and its subdomains, which no public DNS resolves: `bound`, the address
   * listened on, and `listed`: names, `*.example.com` for all subdomains, `*` for any host.
   */
  constructor(bound: string, listed: readonly string[]) {
    const names = ["localhost", "*.localhost", bound, ...listed].map((name) => name.toLowerCase());
    this.#any = names.includes("*");
    this.#names = new Set(names);
    this.#suffixes = names.filter((name) => name.startsWith("*.")).map((name) => name.slice(1));
  }

  /** Throws {@linkcode RequestError} unless `host`, a name or address with or without a port, is allowed. */
  check(host: string): void {
    if (this.#any || host === this.#allowedLast) return;
    const name = hostName(host);
    const isServed = name !== undefined &&
      (isAddress(name) || this.#names.has(name) || this.#suffixes.some((suffix) => name.endsWith(suffix)));
    if (isServed) {
      this.#allowedLast = host;
      return;
    }
    throw new RequestError(
      "PERMISSION_DENIED",
      `Cannot serve the host ${JSON.stringify(host.slice(0, 255))}: found a name that is not allowed; ` +
        "use an IP address or localhost, or list the name in TALLY_HTTP_ALLOWED_HOSTS",
    );
  }
}

/** The name in lower case, without port and final dot; undefined where `host` is not valid. */
function hostName(host: string): string | undefined {
  if (!/^[^\s/\\?#@]+$/.test(host)) return undefined;
  return URL.parse(`http://${host}/`)?.hostname.replace(/\.$/, "");
}

/** `name`: as a URL has it, where every notation of an IPv4 address becomes four decimal numbers. */
function isAddress(name: string): boolean {
  return name.startsWith("[") || /^\d+\.\d+\.\d+\.\d+$/.test(name);
}
