/**
 * What every process of Tally reports of itself in Prometheus's text format.
 *
 * @module
 */
import type { ProcessFigures } from "../runtime/process_figures.ts";
import { VERSION } from "../runtime/version.ts";
import { metric } from "./prometheus_text.ts";

/** Figures of one process. */
export interface ProcessReport extends ProcessFigures {
  /** When it started, Unix milliseconds. */
  readonly startedMs: number;
}

/** One family for each figure, and one for the versions. */
export function formatProcessReport(process: ProcessReport): string[] {
  const { cpuSeconds, residentBytes, eventLoopLagMs, startedMs } = process;
  const versions = `version="${VERSION}",deno="${Deno.version.deno}"`;
  return [
    metric("tally_build_info", "gauge", "Which program this is; always 1.", [[versions, 1]]),
    metric("tally_event_loop_lag_seconds", "gauge", "Greatest delay of a timer during the last minute.", [
      ["", eventLoopLagMs / 1_000],
    ]),
    metric("process_cpu_seconds_total", "counter", "Processor time used.", [["", cpuSeconds]]),
    metric("process_resident_memory_bytes", "gauge", "Memory in use.", [["", residentBytes]]),
    metric("process_start_time_seconds", "gauge", "When it started, Unix time.", [["", startedMs / 1_000]]),
  ];
}
