/**
 * Who calls: verifies the credentials of telemetry calls, where they are required, and counts and logs those that are
 * refused. A log line names no credentials.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import { TokenBucket } from "../../http2/token_bucket.ts";
import { AuthError, type AuthFailure } from "../../identity/auth_error.ts";
import type { DeviceAuthenticator, IdentityLookup } from "../../identity/device_authenticator.ts";
import { anonymousDevice, type DeviceIdentity } from "../../identity/identity.ts";
import { RequestError } from "../../protocol/request_error.ts";
import { SummedLog } from "../../runtime/summed_log.ts";
import type { IngestCounters } from "../counters.ts";
import type { Peer } from "../stream/call_context.ts";

/** What a {@linkcode CallerCheck} needs. */
export interface CallerCheckOptions {
  /** Verifies credentials; undefined: none are required. */
  readonly authenticator: DeviceAuthenticator | undefined;
  /** Refused calls are counted here. */
  readonly counters: IngestCounters;
  /** Calls whose credentials may be looked up at once, in the process. */
  readonly maxLookups: number;
  /** Receives a line at once when a call is refused, and sums up those that follow. */
  readonly log: Logger;
}

/**
 * Lookups of one connection whose credentials turn out to be wrong: those of a gateway's thousand streams at once, and
 * thirty a second after that.
 */
const FAILED_LOOKUPS_BURST = 1000, FAILED_LOOKUPS_PER_SECOND = 30;

/** Of one ingest process. */
export class CallerCheck {
  readonly #options: CallerCheckOptions;
  readonly #buckets = new WeakMap<object, TokenBucket>();
  #lookups = 0;
  readonly #lines: SummedLog<Map<AuthFailure, number>>;

  /** Has checked nothing yet. */
  constructor(options: CallerCheckOptions) {
    this.#options = options;
    this.#lines = new SummedLog(() => new Map(), (failures) => {
      options.log.warn("more calls refused for their credentials", Object.fromEntries(failures));
    });
  }

  /**
   * The identity of a caller; a promise only where something has to be looked up. Throws, or rejects with, the error that
   * ends the call. `peer`: one object per connection.
   */
  identify(authorization: string | undefined, peer: Peer): DeviceIdentity | Promise<DeviceIdentity> {
    const { authenticator, maxLookups } = this.#options;
    if (authenticator === undefined) return anonymousDevice;
    let found;
    try {
      found = authenticator.authenticate({ authorization, certificate: peer.certificate });
    } catch (error) {
      throw this.#counted(error, peer);
    }
    if (typeof found !== "function") return found;
    const bucket = this.#bucketOf(peer);
    if (this.#lookups < maxLookups && bucket.take()) return this.#lookUp(found, peer, bucket);
    throw new RequestError(
      "RESOURCE_EXHAUSTED",
      "too many credentials are to be looked up: connect again later",
    );
  }

  /** An open stream ends for its credentials. */
  ended({ failure }: AuthError): void {
    const { authFailures } = this.#options.counters;
    authFailures.set(failure, authFailures.get(failure)! + 1);
  }

  /** Logs what is pending; what follows is only counted. */
  close(): void {
    this.#lines.close();
  }

  async #lookUp(lookUp: IdentityLookup, peer: Peer, bucket: TokenBucket): Promise<DeviceIdentity> {
    this.#lookups++;
    try {
      const found = await lookUp();
      bucket.give(1);
      return found;
    } catch (error) {
      throw this.#counted(error, peer);
    } finally {
      this.#lookups--;
    }
  }

  #counted(error: unknown, { remoteAddress, remotePort }: Peer): unknown {
    if (!(error instanceof AuthError)) return error;
    this.ended(error);
    const { failure } = error;
    this.#lines.occurred(
      () => {
        this.#options.log.warn("call refused for its credentials", { failure, remoteAddress, remotePort });
      },
      (failures) => failures.set(failure, (failures.get(failure) ?? 0) + 1),
    );
    return error;
  }

  #bucketOf(peer: Peer): TokenBucket {
    let bucket = this.#buckets.get(peer);
    if (bucket === undefined) {
      bucket = new TokenBucket(FAILED_LOOKUPS_BURST, FAILED_LOOKUPS_PER_SECOND, () => performance.now());
      this.#buckets.set(peer, bucket);
    }
    return bucket;
  }
}
