/**
 * How many packets all ingests rejected in the last minute.
 *
 * @module
 */
import type { InstanceReport } from "../../metrics/ingest_metrics.ts";

const WINDOW_MS = 60_000;

/** Sums what the reports of ingests have more than those before. */
export class RejectedPackets {
  readonly #before = new Map<string, number>();
  #reportedSinceMs: number | undefined;
  /** Oldest first. */
  #additions: { readonly atMs: number; readonly packets: number }[] = [];

  /** Takes the newest reports; `nowMs`: of a clock that does not go back. What an ingest rejected before its first one does not count. */
  reported(instances: readonly InstanceReport[], nowMs: number): void {
    if (instances.length > 0) this.#reportedSinceMs ??= nowMs;
    let packets = 0;
    const reporting = new Set<string>();
    for (const { instance, rejected } of instances) {
      const total = Object.values(rejected).reduce((sum, count) => sum + count, 0);
      packets += Math.max(0, total - (this.#before.get(instance) ?? total));
      this.#before.set(instance, total);
      reporting.add(instance);
    }
    for (const instance of this.#before.keys()) {
      if (!reporting.has(instance)) this.#before.delete(instance);
    }
    if (packets > 0) this.#additions.push({ atMs: nowMs, packets });
    this.#additions = this.#additions.filter(({ atMs }) => atMs > nowMs - WINDOW_MS);
  }

  /** Whether there have been reports for a minute. */
  isKnown(nowMs: number): boolean {
    return nowMs - (this.#reportedSinceMs ?? nowMs) >= WINDOW_MS;
  }

  /** Of the last minute, as of the latest reports. */
  get perMinute(): number {
    return this.#additions.reduce((sum, { packets }) => sum + packets, 0);
  }
}
