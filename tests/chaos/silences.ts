/**
 * How long clients were without progress: a device of which nothing arrived for long may be called offline.
 *
 * @module
 */
import type { ChaosClient } from "./devices.ts";

const SAMPLE_MS = 250;

/** Watches clients until it goes out of scope. */
export class Silences implements Disposable {
  readonly #progress = new Map<ChaosClient, { settled: number; sinceMs: number; longestMs: number }>();
  readonly #sampling: ReturnType<typeof setInterval>;

  /** Begins to watch. */
  constructor(clients: readonly ChaosClient[]) {
    for (const client of clients) {
      this.#progress.set(client, { settled: client.settled, sinceMs: performance.now(), longestMs: 0 });
    }
    this.#sampling = setInterval(() => this.#sample(), SAMPLE_MS);
  }

  #sample(): void {
    const nowMs = performance.now();
    for (const [client, progress] of this.#progress) {
      progress.longestMs = Math.max(progress.longestMs, nowMs - progress.sinceMs);
      if (client.settled === progress.settled) continue;
      progress.settled = client.settled;
      progress.sinceMs = nowMs;
    }
  }

  /** The longest time in which no packet of the client was settled; Infinity if it was not watched. */
  longestMs(client: ChaosClient): number {
    return this.#progress.get(client)?.longestMs ?? Infinity;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#sampling);
  }
}
