/**
 * When sessions are claimed: not for calls that are reset at once, and not faster than a device needs.
 *
 * @module
 */
import { TokenBucket } from "../../http2/token_bucket.ts";

/**
 * Claims of one connection: a gateway's thousand streams at once, and thirty a second after that. A call that ends with
 * OK does not count, so that this bounds claims without effect.
 */
const CLAIM_BURST = 1000, CLAIMS_PER_SECOND = 30;

/** How long a claim beyond that waits before it is tried again. */
const RETRY_MS = 100;

/** How long a call without a message must stay open: clients may wait for the initial metadata before they send. */
const MESSAGE_WAIT_MS = 5;

/** The claims of a process. */
export class ClaimScheduler {
  readonly #buckets = new WeakMap<object, TokenBucket>();

  /** `now`: monotonic, ms. */
  constructor(readonly now: () => number) {}

  /**
   * Calls `claim` unless `closed` returns true then: a call that is reset at once claims nothing. It is called in a
   * later turn of the event loop, when what arrived with the first message is read; without a message a little later.
   * Returns the function to call when the message arrives.
   */
  schedule(connection: object, closed: () => boolean, claim: () => void): () => void {
    let timer: ReturnType<typeof setTimeout> | undefined = setTimeout(() => attempt(), MESSAGE_WAIT_MS);
    const attempt = () => {
      timer = undefined;
      if (closed()) return;
      if (this.#bucketOf(connection).take()) claim();
      else setTimeout(attempt, RETRY_MS);
    };
    return () => {
      if (timer === undefined) return;
      clearTimeout(timer);
      timer = undefined;
      setImmediate(attempt);
    };
  }

  /** Returns the claim of a call that ended with OK. */
  giveBack(connection: object): void {
    this.#bucketOf(connection).give(1);
  }

  #bucketOf(connection: object): TokenBucket {
    let bucket = this.#buckets.get(connection);
    if (bucket === undefined) {
      this.#buckets.set(connection, bucket = new TokenBucket(CLAIM_BURST, CLAIMS_PER_SECOND, this.now));
    }
    return bucket;
  }
}
