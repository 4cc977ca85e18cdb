/**
 * What a call has besides its messages, whichever path serves it.
 *
 * @module
 */
import { anonymousDevice, type DeviceIdentity, type PeerCertificate } from "../../identity/identity.ts";
import { CLAIM_KEY, OFFSET_KEY, OLDEST_KEY, SESSION_KEY } from "../../protocol/metadata_keys.ts";
import { RequestError } from "../../protocol/request_error.ts";

/** Where a call comes from. */
export interface Peer {
  /** IP address, where it is known. */
  readonly remoteAddress?: string | undefined;
  /** TCP port, where it is known. */
  readonly remotePort?: number | undefined;
  /** Its certificate, where TLS has verified one. */
  readonly certificate?: PeerCertificate | undefined;
}

/** The entries of a call's metadata that Tally reads. Others are not kept, because a peer may send many kilobytes. */
export interface CallMetadata {
  /** `telemetry-session` */
  readonly session: string | undefined;
  /** `telemetry-offset` */
  readonly offset: string | undefined;
  /** `telemetry-oldest` */
  readonly oldest?: string | undefined;
  /** `telemetry-claim` */
  readonly claim?: string | undefined;
}

/** Picks them. `valueOf`: the value of an entry; of one that was sent several times, all values, separated by commas. */
export function readMetadata(valueOf: (key: string) => string | undefined): CallMetadata {
  const session = valueOf(SESSION_KEY), offset = valueOf(OFFSET_KEY), oldest = valueOf(OLDEST_KEY);
  return oldest === undefined ? { session, offset } : { session, offset, oldest, claim: valueOf(CLAIM_KEY) };
}

/** One call of a peer. */
export class CallContext {
  #controller: AbortController | undefined;
  #abortReason: RequestError | undefined;
  #deadline: ReturnType<typeof setTimeout> | undefined;

  /** `peer`: one object for all calls of a connection. `identity`: one object for all calls of a caller. */
  constructor(
    readonly peer: Peer,
    readonly metadata: CallMetadata,
    readonly identity: DeviceIdentity = anonymousDevice,
  ) {}

  /**
   * Aborted when the call is cancelled, when its connection is gone, and when its deadline has passed: the reason is the
   * error. Made when it is first used, because a signal with a listener costs 3 µs and 770 bytes (measured).
   */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#abortReason !== undefined) this.#controller.abort(this.#abortReason);
    }
    return this.#controller.signal;
  }

  /** Aborts the signal with DEADLINE_EXCEEDED after so long, unless the call is over by then. */
  expireAfter(timeoutMs: number): void {
    this.#deadline = setTimeout(() => {
      this.#abort(new RequestError("DEADLINE_EXCEEDED", "the deadline of the call has passed"));
    }, timeoutMs);
  }

  /** The peer cancelled the call, or is gone. */
  cancel(): void {
    this.end();
    this.#abort(new RequestError("ABORTED", "the call was cancelled"));
  }

  /** The call is over: its deadline is cancelled. */
  end(): void {
    clearTimeout(this.#deadline);
  }

  #abort(reason: RequestError): void {
    if (this.#abortReason !== undefined) return;
    this.#abortReason = reason;
    this.#controller?.abort(reason);
  }
}
