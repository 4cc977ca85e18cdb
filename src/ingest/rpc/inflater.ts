/**
 * Inflates compressed messages. Small ones at once; of large ones one at a time in the whole process, in turns between
 * connections, because 4 KiB may inflate to 4 MiB.
 *
 * @module
 */
import { gunzip, gunzipSync, inflate, inflateSync } from "node:zlib";

import { TokenBucket } from "../../http2/token_bucket.ts";
import { RequestError } from "../../protocol/request_error.ts";

/** The values of grpc-encoding that are served, besides identity. */
export type Encoding = "gzip" | "deflate";

/**
 * Inflated size up to which a message is inflated at once: some 11 µs for a small one; where it turns out to be larger,
 * 0.4 ms are lost (measured).
 */
const SMALL_BYTES = 65_536;

/**
 * What a message inflates to beyond {@linkcode PLAIN_RATIO} times its size is paced: so many bytes at once, and as many
 * a second after that, in the whole process. Telemetry of JSON or protobuf shrinks to a fifth or a twentieth; 4 KiB that
 * become 4 MiB cost their sender nothing, and 8 ms and 8 MB of garbage here (measured).
 */
const PACED_BYTES = 32 * 2 ** 20, PLAIN_RATIO = 64;

/** The stream of a compressed message. */
export interface Inflating {
  /** Connections take turns. */
  readonly connection: object;
  /** The result is not needed any more. */
  readonly closed: boolean;
  /** Receives the inflated message, or the error with which its stream ends. */
  inflated(result: Uint8Array | RequestError): void;
}

interface Job {
  readonly encoding: Encoding;
  readonly bytes: Uint8Array;
  readonly stream: Inflating;
}

/** Delay until the pace is checked again. */
const RETRY_MS = 20;

/** The inflater of a process. */
export class Inflater {
  /** Large messages that wait, by connection. */
  readonly #jobs = new Map<object, Job[]>();
  #busy = false;
  readonly #pace: TokenBucket;
  #owedBytes = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `maxMessageBytes`: what a message may inflate to. `now`: monotonic, ms. */
  constructor(readonly maxMessageBytes: number, now: () => number) {
    this.#pace = new TokenBucket(Math.max(PACED_BYTES, maxMessageBytes), PACED_BYTES, now);
  }

  /**
   * Inflates a message: returns it, or the error with which its stream ends; undefined when `stream` receives either
   * later.
   */
  inflate(stream: Inflating, encoding: Encoding, bytes: Uint8Array): Uint8Array | RequestError | undefined {
    if (this.#paid()) {
      try {
        const maxOutputLength = Math.min(SMALL_BYTES, this.maxMessageBytes);
        const inflated = (encoding === "gzip" ? gunzipSync : inflateSync)(bytes, { maxOutputLength });
        this.#owe(bytes, inflated);
        return inflated;
      } catch (error) {
        if (!isTooLarge(error) || this.maxMessageBytes <= SMALL_BYTES) return this.#refusal(error);
      }
    }
    const job = { encoding, bytes: bytes.slice(), stream }, jobs = this.#jobs.get(stream.connection);
    if (jobs === undefined) this.#jobs.set(stream.connection, [job]);
    else jobs.push(job);
    this.#next();
    return undefined;
  }

  #next(): void {
    if (this.#busy || this.#timer !== undefined) return;
    const job = this.#nextJob();
    if (job === undefined) return;
    if (!this.#paid()) {
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        this.#next();
      }, RETRY_MS);
      return;
    }
    const [connection, jobs] = job, { encoding, bytes, stream } = jobs.shift()!;
    // Re-queued at the tail while it has more jobs.
    this.#jobs.delete(connection);
    if (jobs.length > 0) this.#jobs.set(connection, jobs);
    this.#busy = true;
    const options = { maxOutputLength: this.maxMessageBytes };
    (encoding === "gzip" ? gunzip : inflate)(bytes, options, (error, inflated) => {
      this.#busy = false;
      if (error === null) this.#owe(bytes, inflated);
      else if (isTooLarge(error)) this.#owedBytes += this.maxMessageBytes;
      stream.inflated(error === null ? inflated : this.#refusal(error));
      this.#next();
    });
  }

  /** The connection whose turn it is, with its jobs; those of closed streams are dropped. */
  #nextJob(): [connection: object, jobs: Job[]] | undefined {
    for (const [connection, jobs] of this.#jobs) {
      while (jobs[0]?.stream.closed) jobs.shift();
      if (jobs.length > 0) return [connection, jobs];
      this.#jobs.delete(connection);
    }
    return undefined;
  }

  #owe(bytes: Uint8Array, inflated: Uint8Array): void {
    this.#owedBytes += Math.max(0, inflated.length - PLAIN_RATIO * bytes.length);
  }

  /** Whether what was inflated so far is paid for. */
  #paid(): boolean {
    if (this.#owedBytes > 0 && this.#pace.take(this.#owedBytes)) this.#owedBytes = 0;
    return this.#owedBytes === 0;
  }

  #refusal(error: unknown): RequestError {
    if (isTooLarge(error)) {
      const limit =
        `a message inflates to more than the limit of ${this.maxMessageBytes} bytes: send smaller ones`;
      return new RequestError("RESOURCE_EXHAUSTED", limit);
    }
    return new RequestError(
      "INTERNAL",
      "a message that cannot be inflated: it is not what grpc-encoding names",
    );
  }
}

function isTooLarge(error: unknown): boolean {
  return (error as { code?: unknown } | undefined)?.code === "ERR_BUFFER_TOO_LARGE";
}

/** The error of a call with a message that is compressed although its headers name no encoding. */
export function unexpectedlyCompressed(): RequestError {
  return new RequestError("INTERNAL", "a compressed message, but grpc-encoding is not set");
}
