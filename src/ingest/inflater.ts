/**
 * Inflates compressed messages. Small ones at once; of large ones one at a time in the whole process, in turns between
 * connections, because 4 KiB may inflate to 4 MiB.
 *
 * @module
 */
import { gunzip, gunzipSync, inflate, inflateSync } from "node:zlib";

import { RequestError } from "../errors.ts";

/** The values of grpc-encoding that are served, besides identity. */
export type Encoding = "gzip" | "deflate";

/**
 * Inflated size up to which a message is inflated at once: some 11 µs for a small one; where it turns out to be larger,
 * 0.4 ms are lost (measured).
 */
const SMALL_BYTES = 65_536;

interface Job {
  readonly encoding: Encoding;
  readonly bytes: Uint8Array;
  readonly done: (result: Uint8Array | RequestError) => void;
}

/** The inflater of a process. */
export class Inflater {
  /** Large messages that wait, by connection. */
  readonly #jobs = new Map<object, Job[]>();
  #busy = false;

  /** `maxMessageBytes`: what a message may inflate to. */
  constructor(readonly maxMessageBytes: number) {}

  /**
   * Inflates a message: returns it, or the error with which its stream ends; undefined where `done` is called with
   * either later. `connection` takes turns with others.
   */
  inflate(
    connection: object,
    encoding: Encoding,
    bytes: Uint8Array,
    done: (result: Uint8Array | RequestError) => void,
  ): Uint8Array | RequestError | undefined {
    try {
      const maxOutputLength = Math.min(SMALL_BYTES, this.maxMessageBytes);
      return (encoding === "gzip" ? gunzipSync : inflateSync)(bytes, { maxOutputLength });
    } catch (error) {
      if (!isTooLarge(error) || this.maxMessageBytes <= SMALL_BYTES) return this.#refusal(error);
    }
    const job = { encoding, bytes: bytes.slice(), done }, jobs = this.#jobs.get(connection);
    if (jobs === undefined) this.#jobs.set(connection, [job]);
    else jobs.push(job);
    this.#next();
    return undefined;
  }

  #next(): void {
    const [turn] = this.#jobs;
    if (this.#busy || turn === undefined) return;
    const [connection, jobs] = turn, { encoding, bytes, done } = jobs.shift()!;
    // To the end of the line, or out of it.
    this.#jobs.delete(connection);
    if (jobs.length > 0) this.#jobs.set(connection, jobs);
    this.#busy = true;
    const options = { maxOutputLength: this.maxMessageBytes };
    (encoding === "gzip" ? gunzip : inflate)(bytes, options, (error, inflated) => {
      this.#busy = false;
      done(error === null ? inflated : this.#refusal(error));
      this.#next();
    });
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

/** For a call with a message that is compressed although its headers name no encoding. */
export function unexpectedlyCompressed(): RequestError {
  return new RequestError("INTERNAL", "a compressed message, but grpc-encoding is not set");
}
