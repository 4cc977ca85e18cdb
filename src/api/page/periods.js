/**
 * Points of the fleet's chart: packets per period, the one going on as a rate over the time that has passed.
 *
 * @module
 */
// @ts-check
/** @import { FleetReport, HistoryPoint } from "./shapes.ts" */
/** @import { Point } from "./chart.js" */

/** The rate of a period that has just begun is that of the seconds before, or one packet would be a peak. */
const LEAST_MS = { minutes: 10_000, hours: 60_000 };
/** A chart of a fleet that is new spans at least so many seconds. */
const MIN_SECONDS = 120;

/**
 * @param {FleetReport["history"]} history as read at one moment
 * @param {"seconds" | "minutes" | "hours"} range
 * @returns {readonly Point[]} oldest first
 */
export function fleetPoints(history, range) {
  // The second going on is over before it is shown: figures are up to a second old.
  if (range === "seconds") return sinceFirst(history).slice(0, -1);
  const periods = history[range];
  const running = runningPeriod(history, range);
  return running === undefined ? periods.slice(0, -1) : [...periods.slice(0, -1), running];
}

/**
 * @param {FleetReport["history"]} history
 * @param {"minutes" | "hours"} range
 * @returns {Point | undefined} undefined in the fleet's first second
 */
function runningPeriod({ seconds, ...history }, range) {
  const period = history[range].at(-1);
  if (period === undefined) return undefined;
  const { start_ms, packets } = period;
  const passedMs = history.until_ms - start_ms;
  if (passedMs >= LEAST_MS[range]) return { start_ms, packets, ms: passedMs, isRunning: true };
  const first = isNew({ seconds, hours: history.hours })
    ? seconds.findIndex(({ packets }) => packets > 0)
    : 0;
  const recent = seconds.slice(Math.max(0, first), -1).slice(-LEAST_MS[range] / 1000);
  if (recent.length === 0) return undefined;
  return { start_ms, packets: sumOf(recent), ms: recent.length * 1000, isRunning: true };
}

/**
 * Of a fleet that is new, the seconds since it began: a quarter of an hour of nothing would hide them.
 *
 * @param {FleetReport["history"]} history
 * @returns {readonly HistoryPoint[]}
 */
function sinceFirst({ seconds, hours }) {
  const first = seconds.findIndex(({ packets }) => packets > 0);
  return isNew({ seconds, hours }) && first >= 0
    ? seconds.slice(Math.max(0, Math.min(first, seconds.length - MIN_SECONDS)))
    : seconds;
}

/** @param {Pick<FleetReport["history"], "seconds" | "hours">} history */
function isNew({ seconds, hours }) {
  return sumOf(hours) <= sumOf(seconds);
}

/** @param {readonly HistoryPoint[]} points */
function sumOf(points) {
  return points.reduce((sum, { packets }) => sum + packets, 0);
}
