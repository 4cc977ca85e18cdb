/**
 * What each address and each identity has of an ingest process: open streams, new sessions, and rates.
 *
 * @module
 */
import { TokenBucket } from "../http2/token_bucket.ts";
import { RequestError } from "../protocol/request_error.ts";
import { networkOf } from "../runtime/network.ts";
import { limitOfAddress, limitOfIdentity, type ShareLimit } from "./per_address.ts";
import { RateMeter, type Rates } from "./rate_meter.ts";

/** Limits of an ingest process; of numbers, 0 is none. */
export interface AccountLimits extends Rates {
  /** Streams open at once in all. */
  readonly maxStreams: number;
  /** Of one address, or IPv6 /64. */
  readonly maxStreamsPerAddress?: ShareLimit;
  /** Of one identity. */
  readonly maxStreamsPerIdentity?: ShareLimit;
  /** New sessions of one identity, or of one address where there are no identities, in a minute and at once. */
  readonly newSessionsPerMinute?: number;
}

/** An address or an identity. */
export class Account {
  /** Streams open now. */
  streams = 0;
  /** Pays for new sessions; undefined: without limit. */
  readonly newSessions: TokenBucket | undefined;
  /** Pays for packets; undefined: without limit. */
  readonly meter: RateMeter | undefined;
  /** When its last stream was opened or closed, ms. */
  usedAtMs = 0;
  /** It is no longer in the table. */
  forgotten = false;

  /** Has nothing yet. `name`: for errors. */
  constructor(readonly name: string, readonly maxStreams: number, limits: AccountLimits, now: () => number) {
    const { newSessionsPerMinute = 0 } = limits;
    this.newSessions = newSessionsPerMinute === 0
      ? undefined
      : new TokenBucket(newSessionsPerMinute, newSessionsPerMinute / 60, now);
    this.meter = RateMeter.ofIdentity(limits, now);
  }
}

/** The accounts of one stream. */
export interface StreamAccounts {
  /** Of its peer's address. */
  readonly address: Account;
  /** Of its identity; that of the address where there is none. Sessions and rates are its. */
  readonly identity: Account;
}

/** By then all buckets of an account are full: it is as a new one. */
const FORGET_MS = 60_000;

/** Accounts from which on those are looked for that can be forgotten. */
const FIRST_SWEEP = 1024;

/** The accounts of a process: those that have open streams, and those that had one in the last minute or two. */
export class Accounts {
  readonly #limits: AccountLimits;
  readonly #now: () => number;
  readonly #byName = new Map<string, Account>();
  /** By the peer of a connection, so that a call of it needs no text. */
  readonly #byPeer = new WeakMap<object, Account>();
  #sweepAt = FIRST_SWEEP;

  /** `now`: monotonic clock, ms. */
  constructor(limits: AccountLimits, now: () => number) {
    this.#limits = limits;
    this.#now = now;
  }

  /** Accounts held now. */
  get size(): number {
    return this.#byName.size;
  }

  /** The accounts of a call. `subject`: of its identity; empty: it has none. */
  of(peer: { readonly remoteAddress?: string | undefined }, subject: string): StreamAccounts {
    const address = this.#ofPeer(peer);
    return { address, identity: subject === "" ? address : this.#ofIdentity(subject) };
  }

  /** Why a call may not open a stream; undefined: it may. */
  refusal({ address, identity }: StreamAccounts): RequestError | undefined {
    if (address.streams >= address.maxStreams) return tooManyStreams("ADDRESS", address);
    return identity.streams >= identity.maxStreams ? tooManyStreams("IDENTITY", identity) : undefined;
  }

  /** A stream was opened. */
  opened({ address, identity }: StreamAccounts): void {
    address.streams++;
    if (identity !== address) identity.streams++;
  }

  /** It was closed. */
  closed({ address, identity }: StreamAccounts): void {
    address.usedAtMs = identity.usedAtMs = this.#now();
    address.streams--;
    if (identity !== address) identity.streams--;
  }

  #ofPeer(peer: { readonly remoteAddress?: string | undefined }): Account {
    const known = this.#byPeer.get(peer);
    if (known !== undefined && !known.forgotten) return known;
    const { maxStreams, maxStreamsPerAddress = "auto" } = this.#limits;
    const network = networkOf(peer.remoteAddress ?? "");
    const max = limitOfAddress(maxStreamsPerAddress, maxStreams, network);
    const account = this.#byName.get(network) ?? this.#add(network, network, max);
    this.#byPeer.set(peer, account);
    return account;
  }

  #ofIdentity(subject: string): Account {
    const key = `identity ${subject}`, { maxStreams, maxStreamsPerIdentity = "auto" } = this.#limits;
    const max = limitOfIdentity(maxStreamsPerIdentity, maxStreams);
    return this.#byName.get(key) ?? this.#add(key, subject, max);
  }

  #add(key: string, name: string, maxStreams: number): Account {
    if (this.#byName.size >= this.#sweepAt) this.#sweep();
    const account = new Account(name, maxStreams, this.#limits, this.#now);
    account.usedAtMs = this.#now();
    this.#byName.set(key, account);
    return account;
  }

  #sweep(): void {
    const beforeMs = this.#now() - FORGET_MS;
    for (const [key, account] of this.#byName) {
      if (account.streams > 0 || account.usedAtMs > beforeMs) continue;
      account.forgotten = true;
      this.#byName.delete(key);
    }
    this.#sweepAt = Math.max(FIRST_SWEEP, 2 * this.#byName.size);
  }
}

function tooManyStreams(of: "ADDRESS" | "IDENTITY", { name, maxStreams }: Account): RequestError {
  const setting = `TALLY_MAX_STREAMS_PER_${of} (${maxStreams})`;
  return new RequestError(
    "RESOURCE_EXHAUSTED",
    `${name} has as many streams as ${setting} allows: close some`,
  );
}
