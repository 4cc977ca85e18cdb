/**
 * Devices' tokens: whose each is, and which of those in use were revoked.
 *
 * @module
 */
import type { TokenRecord } from "../store/credentials.ts";
import { AuthError } from "./auth_error.ts";
import { BoundedMap } from "./bounded_map.ts";
import type { DeviceIdentity } from "./identity.ts";
import { hashToken, isToken } from "./token.ts";
import type { TokenLookup } from "./token_lookup.ts";

/** What a {@linkcode TokenAuthenticator} needs. */
export interface TokenAuthenticatorOptions {
  /** Finds tokens; {@linkcode TokenAuthenticator.refresh} polls it. */
  readonly lookup: TokenLookup;
  /** Server time, Unix milliseconds. */
  readonly now: () => number;
}

/** Bearers and hashes of unknown tokens that are kept. */
const MAX_IDENTITIES = 10_000, MAX_UNKNOWN = 10_000;

/** How long an unknown token stays so without another lookup: a client that retries costs the store little. */
const UNKNOWN_MS = 2000;

/** The bearer of a token. */
class TokenIdentity implements DeviceIdentity {
  readonly kind = "token";
  readonly expiresMs: number = Infinity;
  readonly devices: readonly string[];
  revoked = false;

  /** `subject`: the id or pattern that the token is for, so that a token that replaces it owns the same sessions. */
  constructor(readonly record: TokenRecord, readonly subject: string) {
    this.devices = [subject];
  }
}

/** Verifies tokens. Call {@linkcode refresh} once a second. */
export class TokenAuthenticator {
  readonly #options: TokenAuthenticatorOptions;
  /** By hash: one identity for all calls with a token. */
  readonly #identities = new BoundedMap<TokenIdentity>(MAX_IDENTITIES);
  /** Until when tokens count as unknown, by hash. */
  readonly #unknownUntilMs = new BoundedMap<number>(MAX_UNKNOWN);
  /** Identities in use, and the functions that end the watch for their revocation. */
  readonly #watched = new Map<TokenIdentity, () => void>();

  /** Has looked up nothing yet. */
  constructor(options: TokenAuthenticatorOptions) {
    this.#options = options;
  }

  /**
   * The bearer of a token, or the function that looks it up. Throws, or rejects with, {@linkcode AuthError} for a wrong one;
   * rejects with `StoreError` as the store does.
   */
  verify(token: string): DeviceIdentity | (() => Promise<DeviceIdentity>) {
    if (!isToken(token)) throw new AuthError("unknown");
    const { lookup, now } = this.#options;
    const record = lookup.cached(token);
    if (record !== undefined) return this.#identityOf(record);
    const hash = hashToken(token);
    if ((this.#unknownUntilMs.get(hash) ?? 0) > now()) throw new AuthError("unknown");
    return () => this.#find(token, hash);
  }

  /** Notices what was revoked. Rejects with `StoreError`. */
  refresh(): Promise<void> {
    return this.#options.lookup.poll();
  }

  /** Those of the identities, all that are in use, that were revoked. Identities of other kinds are left out. */
  revoked(identities: ReadonlySet<DeviceIdentity>): DeviceIdentity[] {
    const { lookup } = this.#options;
    for (const [identity, stop] of this.#watched) {
      if (identities.has(identity)) continue;
      stop();
      this.#watched.delete(identity);
    }
    const revoked: DeviceIdentity[] = [];
    for (const identity of identities) {
      if (!(identity instanceof TokenIdentity)) continue;
      if (identity.revoked) revoked.push(identity);
      else {
        lookup.used(identity.record.hash);
        if (!this.#watched.has(identity)) this.#watched.set(identity, this.#watch(identity));
      }
    }
    return revoked;
  }

  #watch(identity: TokenIdentity): () => void {
    return this.#options.lookup.onRevoked(identity.record, () => {
      identity.revoked = true;
      this.#identities.delete(identity.record.hash);
    });
  }

  async #find(token: string, hash: string): Promise<DeviceIdentity> {
    const record = await this.#options.lookup.find(token);
    if (record !== undefined) return this.#identityOf(record);
    this.#unknownUntilMs.set(hash, this.#options.now() + UNKNOWN_MS);
    throw new AuthError("unknown");
  }

  #identityOf(record: TokenRecord): DeviceIdentity {
    if (record.kind !== "device") throw new AuthError("unknown");
    const known = this.#identities.get(record.hash);
    if (known !== undefined && !known.revoked) return known;
    const identity = new TokenIdentity(record, record.subject);
    this.#identities.set(record.hash, identity);
    return identity;
  }
}
