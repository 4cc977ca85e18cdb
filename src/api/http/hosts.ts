/**
 * Which host names the api serves. Without authentication, any web page could otherwise read all of it by DNS
 * rebinding: once its own name resolves to this machine, the browser treats the api as the same origin.
 *
 * @module
 */
import { RequestError } from "../../protocol/request_error.ts";

/** Decides by the `Host` header whether a request is served. */
export class AllowedHosts {
  readonly #names: ReadonlySet<string>;
  readonly #suffixes: readonly string[];
  readonly #any: boolean;
  /** The last host allowed: most requests have the same. */
  #servedLast: string | undefined;

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
    if (this.#any || host === this.#servedLast) return;
    const name = hostName(host);
    const isServed = name !== undefined &&
      (isAddress(name) || this.#names.has(name) || this.#suffixes.some((suffix) => name.endsWith(suffix)));
    if (isServed) {
      this.#servedLast = host;
      return;
    }
    throw new RequestError(
      "PERMISSION_DENIED",
      `Cannot serve the host ${JSON.stringify(host.slice(0, 255))}: found a name that is not allowed; ` +
        "use an IP address or localhost, or list the name in TALLY_HTTP_ALLOWED_HOSTS",
    );
  }
}

/** In lower case and without port and final dot; undefined where it is none. */
function hostName(host: string): string | undefined {
  if (!/^[^\s/\\?#@]+$/.test(host)) return undefined;
  return URL.parse(`http://${host}/`)?.hostname.replace(/\.$/, "");
}

/** `name` as a URL has it: there, every way to write an IPv4 address is four decimal numbers. */
function isAddress(name: string): boolean {
  return name.startsWith("[") || /^\d+\.\d+\.\d+\.\d+$/.test(name);
}
