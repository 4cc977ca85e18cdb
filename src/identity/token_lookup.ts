/**
 * Finds the records of tokens that are presented, and notices when one is revoked.
 *
 * Records are kept in memory while `credentialsVersion()` stays the same, which is requested once a second. While the
 * store cannot be reached, what is in memory stays valid: nothing can be revoked meanwhile either.
 *
 * @module
 */
import { type CredentialStore, MAX_TOKENS_PER_CALL, type TokenRecord } from "../store/credentials.ts";
import { hashToken, isToken } from "./token.ts";

/** Bounds how long a revoked token is still accepted. */
const POLL_INTERVAL_MS = 1000;

/** Some 500 bytes each. */
const MAX_CACHED = 10_000;

/** Precision of a token's last use: a token in steady use is written once in this time. */
const USED_PRECISION_MS = 60_000;

/** What of the store is used. */
export type TokenStore = Pick<CredentialStore, "tokensByHash" | "credentialsVersion" | "markTokensUsed">;

/** See the module. */
export class TokenLookup {
  readonly #store: TokenStore;
  readonly #now: () => number;
  /** By hash; those not in {@linkcode #unverified} were read under {@linkcode #version}. */
  readonly #cached = new Map<string, TokenRecord>();
  #version: string | undefined;
  /** Reads that the next call to the store takes with it, by hash: as many as calls wait. */
  readonly #waiting = new Map<string, PromiseWithResolvers<TokenRecord | undefined>>();
  #isReading = false;
  /** What to end when a token is revoked, by hash. */
  readonly #watched = new Map<string, Set<() => void>>();
  /** Hashes of {@linkcode #cached} and {@linkcode #watched} that may have been revoked: read again at once. */
  readonly #unverified = new Set<string>();
  /** By hash, not stored yet. */
  readonly #usedMs = new Map<string, number>();

  /** Requests nothing yet; `now`: Unix milliseconds. */
  constructor(store: TokenStore, now: () => number) {
    this.#store = store;
    this.#now = now;
  }

  /** The record of a token; undefined if it is unknown or revoked. Rejects with `StoreError` as the store does. */
  async find(token: string): Promise<TokenRecord | undefined> {
    if (!isToken(token)) return undefined;
    const hash = hashToken(token);
    const record = this.#cached.get(hash) ?? await this.#read(hash);
    if (record !== undefined) this.#markUsed(record);
    return record;
  }

  /** The record of a token, if it is in memory: the token was valid a second or two ago. Its use is noted. */
  cached(token: string): TokenRecord | undefined {
    const record = this.#cached.get(hashToken(token));
    if (record !== undefined) this.#markUsed(record);
    return record;
  }

  /** The token of this hash is still in use, without another {@linkcode find}. */
  used(hash: string): void {
    const record = this.#cached.get(hash);
    if (record !== undefined) this.#markUsed(record);
  }

  /**
   * Calls `end` once, when the token of the record is revoked, within a second or two of that; not after the function
   * that it returns was called.
   */
  onRevoked({ hash }: TokenRecord, end: () => void): () => void {
    const ends = this.#watched.get(hash) ?? new Set();
    this.#watched.set(hash, ends);
    const entry = () => end(); // `end` may be registered twice.
    ends.add(entry);
    // It may have been revoked since it was found.
    if (!this.#cached.has(hash)) this.#unverified.add(hash);
    return () => {
      ends.delete(entry);
      if (ends.size === 0 && this.#watched.get(hash) === ends) this.#watched.delete(hash);
    };
  }

  /** Notices what was revoked until now, and stores which tokens were used. Rejects with `StoreError`. */
  async poll(): Promise<void> {
    const version = await this.#store.credentialsVersion();
    if (version !== this.#version) {
      this.#version = version;
      for (const hashes of [this.#cached.keys(), this.#watched.keys()]) {
        for (const hash of hashes) this.#unverified.add(hash);
      }
    }
    while (this.#unverified.size > 0) await this.#verifySome();
    while (this.#usedMs.size > 0) await this.#storeSomeUses();
  }

  /** Polls once a second until the function it returns is called, which resolves when the last poll is done. */
  start(): () => Promise<void> {
    let polling = Promise.resolve();
    let isBusy = false;
    const timer = setInterval(() => {
      if (isBusy) return;
      isBusy = true;
      // During an outage of the store, which others log, the next poll tries again.
      polling = this.poll().catch(() => {}).finally(() => isBusy = false);
    }, POLL_INTERVAL_MS);
    return () => {
      clearInterval(timer);
      return polling;
    };
  }

  #read(hash: string): Promise<TokenRecord | undefined> {
    const waiting = this.#waiting.get(hash) ?? Promise.withResolvers();
    this.#waiting.set(hash, waiting);
    if (!this.#isReading) this.#readWaiting();
    return waiting.promise;
  }

  /** One call to the store at a time, for all that wait: a fleet that connects again costs few. */
  async #readWaiting(): Promise<void> {
    this.#isReading = true;
    while (this.#waiting.size > 0) {
      const batch = [...this.#waiting].slice(0, MAX_TOKENS_PER_CALL);
      for (const [hash] of batch) this.#waiting.delete(hash);
      try {
        const records = await this.#current(batch.map(([hash]) => hash));
        for (const [hash, { resolve }] of batch) {
          const record = records.get(hash);
          if (record !== undefined) this.#cache(hash, record);
          resolve(record);
        }
      } catch (error) {
        for (const [, { reject }] of batch) reject(error);
      }
    }
    this.#isReading = false;
  }

  /** What the store has under the version that is known when this resolves. */
  async #current(hashes: readonly string[]): Promise<ReadonlyMap<string, TokenRecord>> {
    while (true) {
      const version = this.#version ??= await this.#store.credentialsVersion();
      const records = await this.#store.tokensByHash(hashes);
      if (version === this.#version) return records;
    }
  }

  #cache(hash: string, record: TokenRecord): void {
    this.#cached.set(hash, record);
    if (this.#cached.size <= MAX_CACHED) return;
    const [oldest] = this.#cached.keys();
    this.#cached.delete(oldest!);
  }

  async #verifySome(): Promise<void> {
    const hashes = [...this.#unverified].slice(0, MAX_TOKENS_PER_CALL);
    const records = await this.#store.tokensByHash(hashes);
    for (const hash of hashes) {
      this.#unverified.delete(hash);
      if (records.has(hash)) continue;
      this.#cached.delete(hash);
      const ends = this.#watched.get(hash) ?? [];
      this.#watched.delete(hash);
      for (const end of ends) end();
    }
  }

  #markUsed(record: TokenRecord): void {
    const { hash, lastUsedMs } = record;
    const nowMs = this.#now();
    if (nowMs - lastUsedMs < USED_PRECISION_MS) return;
    if (this.#cached.has(hash)) this.#cached.set(hash, { ...record, lastUsedMs: nowMs });
    // During an outage of the store they are not written: the last use is not worth more memory.
    if (this.#usedMs.size < MAX_CACHED) this.#usedMs.set(hash, nowMs);
  }

  async #storeSomeUses(): Promise<void> {
    const some = new Map([...this.#usedMs].slice(0, MAX_TOKENS_PER_CALL));
    for (const hash of some.keys()) this.#usedMs.delete(hash);
    await this.#store.markTokensUsed(some);
  }
}
