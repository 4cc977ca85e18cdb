/**
 * Scales of charts: which values and moments the axes show, and which points there is room for.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
import { formatClock, formatDay } from "./format.js";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const TICK_STEPS_MS = [
  ...[1, 2, 5, 15, 30].map((minutes) => minutes * MINUTE_MS),
  ...[1, 3, 6, 12].map((hours) => hours * HOUR_MS),
];
/** A value may be any double: beyond this, the difference of two could be infinite or zero. */
const GREATEST = 1e300;
const LEAST_SPAN = 1e-300;

/**
 * @typedef {object} Point
 * @property {number} start_ms
 * @property {number} [packets]
 * @property {number} [ms] time in which they were stored; default: the whole step
 * @property {number} [mean] with `min` and `max`, in a band
 * @property {number} [min]
 * @property {number} [max]
 * @property {number} [at_ms] where to draw it; default: the start of the step in an area, else its middle
 * @property {boolean} [isRunning] the period has not ended
 *
 * @typedef {object} Series
 * @property {readonly Point[]} points oldest first; without gaps, except in a band
 * @property {number} stepMs time from one point to the next
 * @property {number} [fromMs] first moment of the axis; default: that of the points
 * @property {number} [toMs] last one
 * @property {"area" | "bars" | "band"} form band: a line of means, from `min` to `max`
 * @property {(point: Point, stepMs: number) => number} value to draw
 * @property {(points: readonly Point[], stepMs: number) => Omit<Point, "start_ms">} join several points as one
 * @property {(value: number) => string} format text of a value, with its unit
 * @property {(point: Point, stepMs: number) => string} read text of a point
 * @property {string} [title] for screen readers
 */

/**
 * @typedef {object} Scale
 * @property {number} low the axis' first value
 * @property {number} high its last one
 * @property {number} tick from one label to the next
 */

/**
 * The axis of values: about four labels at round numbers.
 *
 * @param {number} least of what is shown
 * @param {number} greatest
 * @returns {Scale}
 */
export function valueScale(least, greatest) {
  let [low = 0, high = 0] = [least, greatest].map((value) => Math.min(GREATEST, Math.max(-GREATEST, value)));
  if (!(high - low > Math.max(Math.abs(low), Math.abs(high)) * 1e-12 + LEAST_SPAN)) {
    // A straight line: in the middle.
    const around = Math.max(Math.abs(low) * 0.01, LEAST_SPAN * 10) || 1;
    low -= around;
    high += around;
  }
  const tick = niceStep((high - low) / 3);
  // A limit that is a label, but for the rounding of its division, is the end.
  const [first, last] = [Math.floor(low / tick + 1e-9), Math.ceil(high / tick - 1e-9)];
  return { low: first * tick, high: last * tick, tick };
}

/**
 * The axis of counts: from zero, in steps of at least one.
 *
 * @param {number} greatest
 * @returns {Scale}
 */
export function countScale(greatest) {
  const tick = greatest <= 1 ? 1 : niceStep(greatest / 3);
  return { low: 0, high: Math.max(1, Math.ceil(greatest / tick)) * tick, tick };
}

/**
 * @param {Scale} scale
 * @returns {{ value: number, text: string }[]}
 */
export function valueTicks({ low, high, tick }) {
  // Counted, not added up: beside a great number, a small step may change nothing.
  const steps = Math.min(8, Math.round((high - low) / tick));
  return Array.from({ length: steps + 1 }, (_, i) => low + i * tick)
    .map((value) => ({ value, text: tickText(value, tick) }));
}

/**
 * @param {number} fromMs
 * @param {number} toMs
 * @param {number} most how many there is room for
 * @returns {{ at: number, text: string }[]} full minutes, hours or days here
 */
export function timeTicks(fromMs, toMs, most) {
  const stepMs = TICK_STEPS_MS.find((ms) => (toMs - fromMs) / ms <= most);
  const ticks = [];
  if (stepMs !== undefined) {
    const zoneMs = new Date(toMs).getTimezoneOffset() * MINUTE_MS;
    for (let at = Math.ceil((fromMs - zoneMs) / stepMs) * stepMs + zoneMs; at <= toMs; at += stepMs) {
      ticks.push({ at, text: formatClock(at, false) });
    }
    return ticks;
  }
  const days = Math.max(1, Math.ceil((toMs - fromMs) / DAY_MS / most));
  // By the calendar, as not all days have 24 hours.
  const day = new Date(fromMs);
  for (day.setHours(24, 0, 0, 0); day.getTime() <= toMs; day.setDate(day.getDate() + days)) {
    ticks.push({ at: day.getTime(), text: formatDay(day.getTime()) });
  }
  return ticks;
}

/**
 * Merges neighbours until about `most` periods are left; the bounds of the merged periods do not move with time. The
 * first is left out unless it has all of its members.
 *
 * @param {Series} series
 * @param {number} most
 * @returns {{ points: readonly Point[], stepMs: number }}
 */
export function downsample({ points, stepMs, join, fromMs, toMs }, most) {
  const periods = fromMs === undefined || toMs === undefined ? points.length : (toMs - fromMs) / stepMs;
  const together = Math.ceil(periods / most);
  if (together <= 1 || points.length < 2) return { points, stepMs };
  const widthMs = together * stepMs;
  /** @type {Point[][]} */
  const groups = [];
  let end = -Infinity;
  for (const point of points) {
    if (point.start_ms >= end) {
      groups.push([]);
      end = (Math.floor(point.start_ms / widthMs) + 1) * widthMs;
    }
    groups.at(-1)?.push(point);
  }
  const merged = groups.map((group) => {
    const start = Math.floor(/** @type {Point} */ (group[0]).start_ms / widthMs) * widthMs;
    return { ...join(group, stepMs), start_ms: start };
  });
  const first = /** @type {Point} */ (points[0]).start_ms;
  if (fromMs === undefined && merged.length > 1 && first > /** @type {Point} */ (merged[0]).start_ms) {
    merged.shift();
  }
  return { points: merged, stepMs: widthMs };
}

/**
 * @param {readonly Point[]} points
 * @param {number} stepMs
 * @returns {Omit<Point, "start_ms">} their packets in their time
 */
export function joinPackets(points, stepMs) {
  let [packets, ms] = [0, 0];
  for (const point of points) {
    packets += point.packets ?? 0;
    ms += point.ms ?? stepMs;
  }
  return { packets, ms, isRunning: points.at(-1)?.isRunning ?? false };
}

/**
 * @param {readonly number[]} sorted
 * @param {number} wanted
 * @returns {number} index; -1 if there are none
 */
export function nearest(sorted, wanted) {
  let [low, high] = [0, sorted.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (/** @type {number} */ (sorted[middle]) < wanted) low = middle;
    else high = middle;
  }
  const [before, after] = [sorted[low] ?? 0, sorted[high] ?? 0];
  return Math.abs(before - wanted) <= Math.abs(after - wanted) ? Math.min(low, sorted.length - 1) : high;
}

/**
 * @param {readonly number[]} moments
 * @param {number} atLeast
 * @returns {number} the median distance
 */
export function usualDistance(moments, atLeast) {
  const distances = moments.slice(1).map((at, i) => at - /** @type {number} */ (moments[i]));
  return Math.max(atLeast, distances.sort((a, b) => a - b)[distances.length >> 1] ?? 0);
}

/** @param {number} atLeast above zero */
function niceStep(atLeast) {
  const power = 10 ** Math.floor(Math.log10(atLeast));
  return power * (/** @type {number} */ ([1, 2, 5, 10].find((factor) => factor * power >= atLeast)));
}

/**
 * @param {number} value a multiple of `tick`
 * @param {number} tick
 * @returns {string} as in 20, -0.25, 15k, 2M, 1e+12
 */
function tickText(value, tick) {
  const size = Math.abs(value);
  // What is left of a sum that should be zero.
  if (size < tick / 2) return "0";
  if (size >= 1e10 || tick < 1e-4) return String(Number(value.toPrecision(3)));
  if (tick >= 1e5) return `${round(value / 1e6)}M`;
  if (tick >= 100 && size >= 10_000) return `${round(value / 1000)}k`;
  return value.toFixed(Math.max(0, -Math.floor(Math.log10(tick) + 1e-9)));
}

/**
 * Limits the length of SVG paths.
 *
 * @param {number} value
 * @returns {number} with one decimal
 */
export function round(value) {
  return Math.round(value * 10) / 10;
}
