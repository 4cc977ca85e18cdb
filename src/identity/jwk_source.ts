/**
 * Where the keys that verify JWTs come from: a file, which is read again when it changes, or a URL.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import { messageOf } from "../runtime/error_text.ts";
import { findKey, parseJwkSet, type VerificationKey } from "./jwk_set.ts";

/** What a {@linkcode JwkSource} needs. */
export interface JwkSourceOptions {
  /** Path of a file, or an https URL. */
  readonly location: string;
  /** Monotonic clock, ms. */
  readonly now: () => number;
  /** Receives a line when keys were read again, or could not be. */
  readonly log: Logger;
}

/** How often keys are fetched from a URL, and how soon again for a key that is unknown or after a failure. */
const FETCH_INTERVAL_MS = 300_000, FETCH_COOLDOWN_MS = 30_000;

/** Bounds of a fetch. */
const FETCH_TIMEOUT_MS = 5000, MAX_BYTES = 256 * 1024;

/** Whether `location` is a URL, and not a file. */
export function isUrl(location: string): boolean {
  return /^https?:\/\//i.test(location);
}

/** The keys, as they were read last. What cannot be read leaves them as they are. */
export class JwkSource {
  readonly #options: JwkSourceOptions;
  #keys: readonly VerificationKey[] | undefined;
  /** Modification time and size of the file. */
  #fileVersion: string | undefined;
  #readAtMs = -Infinity;
  #reading: Promise<void> | undefined;

  private constructor(options: JwkSourceOptions) {
    this.#options = options;
  }

  /** Reads the keys; rejects if it cannot, unless they come from a URL, which may be reachable later. */
  static async open(options: JwkSourceOptions): Promise<JwkSource> {
    const source = new JwkSource(options);
    if (isUrl(options.location)) await source.refresh();
    else await source.#readFile();
    return source;
  }

  /** The keys; undefined: none was read yet. */
  get keys(): readonly VerificationKey[] | undefined {
    return this.#keys;
  }

  /** The key that a JWT's header names; one that is unknown may be in the keys of the URL by now. */
  async find(id: unknown, algorithm: unknown): Promise<VerificationKey | undefined> {
    const found = findKey(this.#keys ?? [], id, algorithm);
    if (found !== undefined || !isUrl(this.#options.location)) return found;
    await this.#fetchAfter(FETCH_COOLDOWN_MS);
    return findKey(this.#keys ?? [], id, algorithm);
  }

  /** Reads the keys again if the file has changed, or if they were fetched long ago. Never rejects. */
  async refresh(): Promise<void> {
    if (isUrl(this.#options.location)) {
      return await this.#fetchAfter(this.#keys === undefined ? FETCH_COOLDOWN_MS : FETCH_INTERVAL_MS);
    }
    await this.#readFile().catch((error) => this.#failed(error));
  }

  async #readFile(): Promise<void> {
    const { location } = this.#options;
    let version = "none";
    try {
      const { mtime, size } = await Deno.stat(location);
      version = `${mtime?.getTime()} ${size}`;
      if (version === this.#fileVersion) return;
      if (size > MAX_BYTES) throw new Error(`found ${size} bytes; use at most ${MAX_BYTES}`);
      this.#set(await parseJwkSet(await Deno.readTextFile(location)));
    } catch (cause) {
      if (version === this.#fileVersion) return;
      throw new Error(`Cannot read the keys of TALLY_DEVICE_JWKS in ${location}: ${messageOf(cause)}`, {
        cause,
      });
    } finally {
      // A file that is wrong, or missing, is logged once, not each second.
      this.#fileVersion = version;
    }
  }

  /** Fetches them unless that was tried in the last `ms`; those that call meanwhile share the result. */
  #fetchAfter(ms: number): Promise<void> {
    if (this.#reading !== undefined) return this.#reading;
    const nowMs = this.#options.now();
    if (nowMs - this.#readAtMs < ms) return Promise.resolve();
    this.#readAtMs = nowMs;
    const { location } = this.#options;
    return this.#reading = fetchText(location).then(parseJwkSet).then(
      (keys) => this.#set(keys),
      (cause) => this.#failed(new Error(`Cannot fetch the keys of TALLY_DEVICE_JWKS: ${messageOf(cause)}`)),
    ).finally(() => this.#reading = undefined);
  }

  #set(keys: readonly VerificationKey[]): void {
    this.#keys = keys;
    this.#options.log.info("keys of JWTs read", { keys: keys.length });
  }

  #failed(error: unknown): void {
    this.#options.log.error("keys of JWTs could not be read; those read before remain in use", {
      reason: messageOf(error),
    });
  }
}

async function fetchText(url: string): Promise<string> {
  const response = await fetch(url, {
    redirect: "error",
    signal: AbortSignal.timeout(FETCH_TIMEOUT_MS),
    headers: { accept: "application/jwk-set+json, application/json" },
  });
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let text = "", bytes = 0;
  for await (const chunk of response.body ?? []) {
    if ((bytes += chunk.length) > MAX_BYTES) throw new Error(`found more than ${MAX_BYTES} bytes`);
    text += decoder.decode(chunk, { stream: true });
  }
  if (response.status !== 200) throw new Error(`found status ${response.status}; expected 200`);
  return text + decoder.decode();
}
