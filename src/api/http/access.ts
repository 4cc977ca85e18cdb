/**
 * Who may call which route: bearer tokens of readers, and their scopes.
 *
 * `hono/bearer-auth` has no scopes, responds with its own texts, and its `verifyToken` gets no address to slow.
 *
 * @module
 */
import type { Context, MiddlewareHandler } from "@hono/hono";
import type { Logger } from "@logtape/logtape";

import type { Scope } from "../../identity/identity.ts";
import { bearerToken } from "../../identity/token.ts";
import type { TokenLookup } from "../../identity/token_lookup.ts";
import type { ReaderAuthFailure } from "../../metrics/api_metrics.ts";
import type { TokenRecord } from "../../store/credentials.ts";
import type { FailedAttempts } from "./failed_attempts.ts";
import { problemResponse } from "./problem.ts";
import type { ReaderConnection } from "../../http/reader_server.ts";
import { refuseCrossSite } from "./same_site.ts";

/** At most one line about refused readers is logged in this time. */
const LOG_INTERVAL_MS = 10_000;

/** What {@linkcode checkAccess} needs. */
export interface AccessOptions {
  /** Has the tokens; undefined: none are required, and any client may do everything. */
  readonly tokens: TokenLookup | undefined;
  /** Slows failed attempts. */
  readonly attempts: FailedAttempts;
  /** Counts what was refused. */
  readonly authFailures: Record<ReaderAuthFailure, number>;
  /** Milliseconds that never go back. */
  readonly monotonicMs: () => number;
  /** Receives a line now and then while readers are refused. Tokens are not in it. */
  readonly log: Logger;
}

/** The sender of a request. */
export interface Reader {
  /** Of its token; `anonymous` where no tokens are required. */
  readonly name: string;
  /** Calls `end` when its token is revoked, unless the function that it returns was called before. */
  onRevoked(end: () => void): () => void;
}

/** Any client, where no tokens are required. */
export const anonymous: Reader = { name: "anonymous", onRevoked: () => () => {} };

const READER = "reader";

/** The sender of a request that {@linkcode checkAccess} has passed. */
export function readerOf(c: Context): Reader {
  return c.get(READER);
}

/** Whether a request with this method changes nothing. */
function isRead(method: string): boolean {
  return method === "GET" || method === "HEAD";
}

/** The scope that a request needs; undefined: none. A route that is not named here is for those who may read or write all. */
export function neededScope(method: string, path: string): Scope | undefined {
  if (!isRead(method)) return "admin";
  // The page and its documentation are the same for everybody, and hold no data. Probes have no credentials.
  if (["/", "/docs", "/openapi.json", "/healthz", "/readyz"].includes(path)) return undefined;
  if (path.startsWith("/page/") || path.startsWith("/docs/")) return undefined;
  if (path === "/audit" || path === "/tokens" || path.startsWith("/tokens/")) return "admin";
  return path === "/metrics" ? "metrics" : "read";
}

/** Whether a token with these scopes may do what needs `scope`. */
export function allows(scopes: readonly string[], scope: Scope): boolean {
  return scopes.includes("admin") || scopes.includes(scope) || scope === "metrics" && scopes.includes("read");
}

/**
 * Middleware: 401 without a valid token, 403 for one that lacks the scope, 429 for the next attempt after many failed
 * ones from the same address. Afterwards {@linkcode readerOf} has the sender.
 */
export function checkAccess(options: AccessOptions): MiddlewareHandler {
  const refusals = new Refusals(options);
  return async (c, next) => {
    const needed = neededScope(c.req.method, c.req.path);
    if (options.tokens === undefined || needed === undefined) {
      // A browser sends no token by itself, but reaches what an anonymous client may reach.
      if (!isRead(c.req.method) && c.req.method !== "OPTIONS") refuseCrossSite(c);
      c.set(READER, anonymous);
      return await next();
    }
    const authorization = c.req.header("Authorization");
    if (authorization === undefined) return refusals.missing(c);
    const record = await authenticate(options, options.tokens, refusals, c, authorization);
    if (record instanceof Response) return record;
    if (!allows(record.scopes, needed)) return refusals.scope(c, record, needed);
    const { tokens } = options;
    const reader: Reader = { name: record.subject, onRevoked: (end) => tokens.onRevoked(record, end) };
    c.set(READER, reader);
    await next();
  };
}

/** The record of a reader's token, or the response to a wrong one. */
async function authenticate(
  { attempts }: AccessOptions,
  tokens: TokenLookup,
  refusals: Refusals,
  c: Context,
  authorization: string,
): Promise<TokenRecord | Response> {
  const { address }: ReaderConnection = c.env;
  const token = bearerToken(authorization);
  // Tokens in use are not slowed by the failures of others at the same address.
  const inUse = token === undefined ? undefined : tokens.cached(token);
  const waitMs = inUse === undefined ? attempts.waitMs(address) : 0;
  if (waitMs > 0) return refusals.slowed(c, address, waitMs);
  if (token === undefined) return refusals.wrong(c, address, "malformed");
  const record = inUse ?? await tokens.find(token);
  return record?.kind === "reader" ? record : refusals.wrong(c, address, "unknown");
}

/** The responses to those that are refused; counts and logs them. */
class Refusals {
  readonly #options: AccessOptions;
  #loggedAtMs = -Infinity;

  constructor(options: AccessOptions) {
    this.#options = options;
  }

  missing(c: Context): Response {
    this.#options.authFailures.missing++;
    return this.#unauthorized(c, "found no token", "");
  }

  wrong(c: Context, address: string, failure: "malformed" | "unknown"): Response {
    this.#options.authFailures[failure]++;
    this.#options.attempts.failed(address);
    this.#report({ address, failure });
    const found = failure === "malformed"
      ? "found an Authorization header that has no bearer token"
      : "found a token that is unknown or revoked";
    return this.#unauthorized(c, found, ', error="invalid_token"');
  }

  slowed(c: Context, address: string, waitMs: number): Response {
    this.#options.authFailures.slowed++;
    this.#report({ address, failure: "slowed" });
    const seconds = Math.ceil(waitMs / 1_000);
    const detail = `Cannot authenticate: found too many failed attempts from this address; try again in ` +
      `${seconds} s`;
    return problemResponse(c.req.raw, 429, detail, { "Retry-After": String(seconds) });
  }

  scope(c: Context, { subject, scopes }: TokenRecord, needed: Scope): Response {
    this.#options.authFailures.scope++;
    this.#report({ failure: "scope", token: subject, needed });
    const detail = `Cannot ${c.req.method} ${c.req.path}: found a token for ${scopes.join(", ")}; ` +
      `expected one for ${needed}`;
    const challenge = `Bearer realm="tally", error="insufficient_scope", scope="${needed}"`;
    return problemResponse(c.req.raw, 403, detail, { "WWW-Authenticate": challenge });
  }

  #unauthorized(c: Context, found: string, error: string): Response {
    const detail =
      `Cannot ${c.req.method} ${c.req.path}: ${found}; expected Authorization: Bearer and a token ` +
      `that deno task token:add has printed`;
    return problemResponse(c.req.raw, 401, detail, { "WWW-Authenticate": `Bearer realm="tally"${error}` });
  }

  #report(properties: Record<string, unknown>): void {
    const { monotonicMs, authFailures, log } = this.#options;
    if (monotonicMs() - this.#loggedAtMs < LOG_INTERVAL_MS) return;
    this.#loggedAtMs = monotonicMs();
    log.warn("readers are refused for their credentials", { ...properties, soFar: { ...authFailures } });
  }
}
