/**
 * Sends the report of an ingest process to the store, once a second, for the api to show.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import type { Logger } from "@logtape/logtape";

import type { InstanceReport } from "../metrics/ingest_metrics.ts";
import type { Store } from "../store/store.ts";

/** How often an instance reports. */
const REPORT_INTERVAL_MS = 1000;

/** What {@linkcode startReporting} needs. */
export interface ReportingOptions {
  /** Receives the reports. */
  readonly store: Pick<Store, "reportInstance" | "removeInstance">;
  /** The current figures; the rate is added here. */
  readonly report: () => Omit<InstanceReport, "rate">;
  /** Receives a line when the store refuses a report. */
  readonly log: Logger;
}

/**
 * Reports until the function it returns is called; that removes the report and resolves when it is gone, or when the
 * store refused. A report that fails is not repeated: the next one replaces it.
 */
export function startReporting({ store, report, log }: ReportingOptions): () => Promise<void> {
  const stop = new AbortController();
  const before = report();
  const done = run();

  async function run(): Promise<void> {
    let { stored } = before, reportedMs = performance.now();
    while (!stop.signal.aborted) {
      const figures = report();
      const elapsedMs = performance.now() - reportedMs;
      const rate = elapsedMs > 0 ? (figures.stored - stored) * 1000 / elapsedMs : 0;
      reportedMs += elapsedMs;
      ({ stored } = figures);
      await store.reportInstance({ ...figures, rate }).catch(refused);
      await delay(REPORT_INTERVAL_MS, undefined, { signal: stop.signal }).catch(() => {}); // aborted
    }
    await store.removeInstance(before.instance).catch(refused);
  }

  function refused(error: unknown): void {
    log.debug("the store refused the report of this instance: {error}", { error });
  }

  return () => {
    stop.abort();
    return done;
  };
}
