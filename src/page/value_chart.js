/**
 * One value of a device: its latest number, and a chart of its means with least and greatest.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { Cursor } from "./chart.js" */
/** @import { Point } from "./chart_scale.js" */
/** @import { ValueSeries } from "./shapes.ts" */
/** @import { Span } from "./time_range.js" */
import { request, valueUrl } from "./api.js";
import { Chart } from "./chart.js";
import { fromTemplate, setText } from "./dom.js";
import { visible } from "./format.js";
import { formatMean, formatValue, unitOf } from "./units.js";

const DAY_MS = 86_400_000;

/** A value's place among the charts. */
export class ValueChart {
  element = fromTemplate("value-chart");
  #deviceId;
  #name;
  #unit = "";
  #chart;
  /** @type {readonly Point[]} */
  #points = [];
  /** Of `#points`. */
  #stepMs = 0;
  #span;
  /** @type {{ value: number, atMs: number } | undefined} */
  #latest;
  /** URL of the request in flight. */
  #loading = "";

  /**
   * @param {string} deviceId
   * @param {string} name
   * @param {{ cursor: Cursor, span: () => Span }} shared by all charts of the device
   */
  constructor(deviceId, name, { cursor, span }) {
    this.#deviceId = deviceId;
    this.#name = name;
    this.#span = span;
    setText(/** @type {Element} */ (this.element.querySelector("bdi")), visible(name));
    this.element.setAttribute("aria-label", visible(name));
    this.#chart = new Chart(/** @type {HTMLElement} */ (this.element.querySelector(".chart")), cursor);
  }

  /** Takes the chart out of its device's. */
  remove() {
    this.#chart.leave();
    this.element.remove();
  }

  /**
   * @param {number} value
   * @param {number} atMs
   * @param {Readonly<Record<string, string>>} tags of the device
   */
  show(value, atMs, tags) {
    this.#unit = visible(unitOf(this.#name, tags));
    setText(/** @type {Element} */ (this.element.querySelector("b")), formatValue(value, this.#unit));
    if (atMs === this.#latest?.atMs && value === this.#latest.value) return;
    this.#latest = { value, atMs };
    if (this.#span().isLive) this.#draw();
  }

  /** Requests the value's history; on failure the chart stays as it is. */
  async load() {
    const { fromMs, toMs, stepMs } = this.#span();
    const url = valueUrl(this.#deviceId, this.#name, { from: fromMs, to: toMs - 1, step: stepMs / 1000 });
    if (url === this.#loading) return;
    this.#loading = url;
    /** @type {ValueSeries | undefined} */
    const series = await request(url).catch(() => undefined);
    // Another time was chosen meanwhile.
    if (url !== this.#loading) return;
    this.#loading = "";
    if (series === undefined) return;
    this.#points = series.points;
    this.#stepMs = stepMs;
    this.#draw();
  }

  #draw() {
    const { fromMs, toMs, stepMs, isLive } = this.#span();
    // The points of another time are drawn no more; those of this one are on their way.
    if (stepMs !== this.#stepMs) return;
    const points = this.#points.filter(({ start_ms }) => start_ms >= fromMs && start_ms < toMs);
    if (isLive && toMs - fromMs <= DAY_MS) this.#addLatest(points, fromMs);
    this.#chart.draw({
      title: visible(this.#name),
      points,
      stepMs,
      fromMs,
      toMs,
      form: "band",
      value: ({ mean = 0 }) => mean,
      join: joinValues,
      format: (value) => formatMean(value, this.#unit),
      read: (point) => this.#read(point),
    });
  }

  /**
   * The line ends at the latest value; in longer times the periods are too short for that.
   *
   * @param {Point[]} points
   * @param {number} fromMs
   */
  #addLatest(points, fromMs) {
    const last = points.at(-1);
    if (this.#latest === undefined) return;
    const { value, atMs } = this.#latest;
    if (atMs < Math.max(fromMs, last?.start_ms ?? 0)) return;
    if (last !== undefined && atMs < last.start_ms + this.#stepMs) {
      points[points.length - 1] = {
        ...last,
        at_ms: (last.start_ms + atMs) / 2,
        min: Math.min(last.min ?? value, value),
        max: Math.max(last.max ?? value, value),
        isRunning: true,
      };
    }
    points.push({ start_ms: atMs, at_ms: atMs, mean: value, min: value, max: value });
  }

  /** @param {Point} point */
  #read({ mean = 0, min = mean, max = mean }) {
    const text = formatMean(mean, this.#unit);
    return min === max ? text : `${text}  (${formatMean(min)} to ${formatMean(max)})`;
  }
}

/**
 * @param {readonly Point[]} points
 * @returns {Omit<Point, "start_ms">} their mean, least and greatest
 */
function joinValues(points) {
  let [mean, min, max] = [0, Infinity, -Infinity];
  for (const point of points) {
    // Each a part of it: their sum may be infinite.
    mean += (point.mean ?? 0) / points.length;
    min = Math.min(min, point.min ?? Infinity);
    max = Math.max(max, point.max ?? -Infinity);
  }
  return { mean, min, max };
}
