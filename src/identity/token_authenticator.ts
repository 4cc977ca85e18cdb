/**
 * Devices' tokens, looked up in the store by their hashes.
 *
 * Lookups are cached as long as the version of the store's tokens is the same, which is read once a second: a token that
 * is revoked ends in every process a moment later. Those that are asked for while a lookup is in flight share the next.
 *
 * @module
 */
import { RequestError } from "../protocol/request_error.ts";
import { type CredentialStore, MAX_TOKENS_PER_CALL, type TokenRecord } from "../store/credentials.ts";
import { AuthError } from "./auth_error.ts";
import { BoundedMap } from "./bounded_map.ts";
import type { DeviceIdentity } from "./identity.ts";
import { hashToken, isToken } from "./token.ts";

/** What a {@linkcode TokenAuthenticator} needs. */
export interface TokenAuthenticatorOptions {
  /** Has the tokens. */
  readonly store: CredentialStore;
  /** Server time, Unix milliseconds. */
  readonly now: () => number;
}

/** Tokens cached, known and unknown ones: some 400 bytes each (measured). */
const MAX_KNOWN = 50_000, MAX_UNKNOWN = 10_000;

/** How long a token counts as unknown without another lookup. */
const UNKNOWN_MS = 10_000;

/** Lookups that may wait: some tens of milliseconds of the store's time. */
const MAX_WAITING = 20_000;

/** A token's last use is stored this often. */
const MARK_USED_MS = 60_000;

/** The bearer of a token. */
class TokenIdentity implements DeviceIdentity {
  readonly kind = "token";
  readonly expiresMs: number = Infinity;
  /** The id or pattern that the token is for, so that a token that replaces it owns the same sessions. */
  readonly subject: string;
  readonly devices: readonly string[];
  readonly hash: string;
  /** When its last use was stored, or is about to be. */
  usedMs: number;

  /** `generation`: see {@linkcode TokenAuthenticator}; the token was found in it. */
  constructor({ hash, subject, lastUsedMs }: TokenRecord, public generation: number) {
    this.hash = hash;
    this.subject = subject;
    this.devices = [subject];
    this.usedMs = lastUsedMs;
  }
}

/** Verifies tokens. Call {@linkcode refresh} once a second. */
export class TokenAuthenticator {
  readonly #options: TokenAuthenticatorOptions;
  readonly #known = new BoundedMap<TokenIdentity>(MAX_KNOWN);
  /** Hashes of unknown tokens, and until when they count as unknown. */
  readonly #unknown = new BoundedMap<number>(MAX_UNKNOWN);
  #version: string | undefined;
  /** Counts the versions read: what was found in an earlier one is looked up again. */
  #generation = 0;
  /** Lookups by hash, those in flight too. */
  readonly #lookups = new Map<string, PromiseWithResolvers<TokenIdentity>>();
  /** Hashes that the next lookup is for. */
  #waiting: string[] = [];
  #running = false;
  /** When tokens were used, by hash; to be stored. */
  readonly #used = new Map<string, number>();

  /** Has looked up nothing yet. */
  constructor(options: TokenAuthenticatorOptions) {
    this.#options = options;
  }

  /** The bearer of a token; throws, or rejects with, {@linkcode AuthError} for a wrong one, another error without the store. */
  verify(token: string): DeviceIdentity | Promise<DeviceIdentity> {
    if (!isToken(token)) throw new AuthError("unknown");
    const hash = hashToken(token);
    const known = this.#known.get(hash);
    if (known?.generation === this.#generation) {
      this.#markUsed(known);
      return known;
    }
    if ((this.#unknown.get(hash) ?? 0) > this.#options.now()) throw new AuthError("unknown");
    return this.#lookup(hash);
  }

  /** Reads the version of the store's tokens, and stores when tokens were used. Rejects when the store does. */
  async refresh(): Promise<void> {
    const { store } = this.#options;
    const version = await store.credentialsVersion();
    if (version !== this.#version) {
      this.#version = version;
      this.#generation++;
      this.#unknown.clear();
    }
    const used = new Map(this.#used.entries().take(MAX_TOKENS_PER_CALL));
    if (used.size === 0) return;
    for (const hash of used.keys()) this.#used.delete(hash);
    await store.markTokensUsed(used);
  }

  /**
   * Those of the identities, which are in use, that were revoked. Only what was found in an earlier version is looked up.
   * Identities of other kinds are left out.
   */
  async revoked(identities: Iterable<DeviceIdentity>): Promise<DeviceIdentity[]> {
    const stale: TokenIdentity[] = [];
    for (const identity of identities) {
      if (!(identity instanceof TokenIdentity)) continue;
      this.#markUsed(identity);
      if (identity.generation !== this.#generation) stale.push(identity);
    }
    const revoked: DeviceIdentity[] = [];
    for (let at = 0; at < stale.length; at += MAX_TOKENS_PER_CALL) {
      const generation = this.#generation, chunk = stale.slice(at, at + MAX_TOKENS_PER_CALL);
      const found = await this.#options.store.tokensByHash([...new Set(chunk.map(({ hash }) => hash))]);
      // What was read may be out of date already: the next call looks it up again.
      if (generation !== this.#generation) break;
      for (const identity of chunk) {
        if (found.has(identity.hash)) identity.generation = generation;
        else {
          this.#known.delete(identity.hash);
          revoked.push(identity);
        }
      }
    }
    return revoked;
  }

  #lookup(hash: string): Promise<DeviceIdentity> {
    let lookup = this.#lookups.get(hash);
    if (lookup === undefined) {
      if (this.#lookups.size >= MAX_WAITING) {
        throw new RequestError("UNAVAILABLE", "too many new devices connect at once: connect again");
      }
      this.#lookups.set(hash, lookup = Promise.withResolvers());
      this.#waiting.push(hash);
      if (!this.#running) this.#run();
    }
    return lookup.promise;
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#waiting.length > 0) {
      const generation = this.#generation, hashes = this.#waiting.splice(0, MAX_TOKENS_PER_CALL);
      try {
        const found = await this.#options.store.tokensByHash(hashes);
        if (generation !== this.#generation) this.#waiting.push(...hashes);
        else for (const hash of hashes) this.#settle(hash, found.get(hash));
      } catch (error) {
        for (const hash of hashes) this.#settle(hash, error as Error);
      }
    }
    this.#running = false;
  }

  #settle(hash: string, result: TokenRecord | Error | undefined): void {
    const lookup = this.#lookups.get(hash)!;
    this.#lookups.delete(hash);
    if (result instanceof Error) return lookup.reject(result);
    if (result?.kind !== "device") {
      this.#known.delete(hash);
      this.#unknown.set(hash, this.#options.now() + UNKNOWN_MS);
      return lookup.reject(new AuthError("unknown"));
    }
    const identity = this.#known.get(hash) ?? new TokenIdentity(result, this.#generation);
    identity.generation = this.#generation;
    this.#known.set(hash, identity);
    this.#markUsed(identity);
    lookup.resolve(identity);
  }

  #markUsed(identity: TokenIdentity): void {
    const nowMs = this.#options.now();
    if (nowMs - identity.usedMs < MARK_USED_MS) return;
    identity.usedMs = nowMs;
    this.#used.set(identity.hash, nowMs);
  }
}
