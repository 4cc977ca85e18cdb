/**
 * Charts over time, drawn as SVG. CSS sets the colours, for light, dark and print.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { Point, Scale, Series } from "./chart_scale.js" */
import { areaPath, bandPath, barsPath, linePath } from "./chart_paths.js";
import {
  countScale,
  downsample,
  nearest,
  round,
  timeTicks,
  usualDistance,
  valueScale,
  valueTicks,
} from "./chart_scale.js";
import { formatClock, formatDayAndClock } from "./format.js";

const MARGIN = { top: 12, right: 2, bottom: 24, left: 44 };
const CHARACTER_PX = 6.7;
/** Points that would be closer than this are merged: more would be noise. */
const MIN_POINT_DISTANCE_PX = 2.5;
/** A line ends where so many points are missing; by the usual distance, as many devices send seldom. */
const MAX_MISSING = 3;
const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;

/** A moment that several charts show in step. */
export class Cursor {
  /** @type {Set<Chart>} */
  charts = new Set();
  /** @type {number | undefined} */
  atMs;

  /** @param {number | undefined} atMs undefined: none */
  move(atMs) {
    if (atMs === this.atMs) return;
    this.atMs = atMs;
    for (const chart of this.charts) chart.showCursor();
  }
}

/** A chart in `host`, with a crosshair that the pointer and the arrow keys move. */
export class Chart {
  #host;
  #cursor;
  #svg = svg("svg", { role: "img", tabindex: 0 });
  #readout = document.createElement("output");
  #axes = svg("g", {});
  #axesBefore = "";
  #marks = svg("g", {});
  #crosshair = svg("line", { class: "crosshair", y1: MARGIN.top });
  #spot = svg("circle", { class: "spot", r: 3.5 });
  /** @type {Series | undefined} */
  #series;
  /** @type {readonly Point[]} */
  #drawn = [];
  /** Moments of `#drawn`. @type {number[]} */
  #moments = [];
  #stepMs = 0;
  #maxGapMs = 0;
  /** @type {Scale} */
  #scale = { low: 0, high: 1, tick: 1 };
  #fromMs = 0;
  #toMs = 1;
  #left = MARGIN.left;
  #width = 0;
  #height = 0;

  /**
   * @param {HTMLElement} host
   * @param {Cursor} [cursor] of several charts
   */
  constructor(host, cursor = new Cursor()) {
    this.#host = host;
    this.#cursor = cursor;
    cursor.charts.add(this);
    this.#readout.className = "readout";
    this.#readout.hidden = true;
    // Only of the chart that has the focus, of all that move in step.
    this.#readout.setAttribute("aria-live", "off");
    this.#svg.append(this.#axes, this.#marks, this.#crosshair, this.#spot);
    host.append(this.#svg, this.#readout);
    host.addEventListener("pointermove", (event) => this.#pointAt(event));
    host.addEventListener("pointerdown", (event) => this.#pointAt(event));
    host.addEventListener("pointerleave", () => cursor.move(undefined));
    this.#svg.addEventListener("focus", () => this.#readout.setAttribute("aria-live", "polite"));
    this.#svg.addEventListener("blur", () => {
      this.#readout.setAttribute("aria-live", "off");
      cursor.move(undefined);
    });
    this.#svg.addEventListener("keydown", (event) => this.#pressed(event));
    new ResizeObserver(() => this.#draw()).observe(host);
  }

  /** Takes the chart out of its cursor's. */
  leave() {
    this.#cursor.charts.delete(this);
  }

  /** @param {Series} series */
  draw(series) {
    this.#series = series;
    this.#draw();
  }

  #draw() {
    const series = this.#series;
    const width = this.#host.clientWidth;
    if (series === undefined || width === 0) return;
    this.#width = width;
    this.#height = this.#host.clientHeight;
    const room = (width - MARGIN.left) / MIN_POINT_DISTANCE_PX;
    ({ points: this.#drawn, stepMs: this.#stepMs } = downsample(series, room));
    const offsetMs = series.form === "area" ? 0 : this.#stepMs / 2;
    this.#moments = this.#drawn.map(({ start_ms, at_ms }) => at_ms ?? start_ms + offsetMs);
    this.#maxGapMs = MAX_MISSING * usualDistance(this.#moments, this.#stepMs);
    const ends = series.form === "area" ? 0 : this.#stepMs;
    this.#fromMs = series.fromMs ?? this.#drawn[0]?.start_ms ?? 0;
    this.#toMs = series.toMs ?? (this.#drawn.at(-1)?.start_ms ?? 0) + ends;
    const [least, greatest] = this.#bounds();
    this.#scale = series.form === "band" ? valueScale(least, greatest) : countScale(greatest);
    this.#drawAxes();
    this.#marks.replaceChildren(...this.#paths());
    // A screen reader on the chart would announce each change.
    if (document.activeElement !== this.#svg) {
      this.#svg.setAttribute("aria-label", this.#summary(least, greatest));
    }
    this.showCursor();
  }

  /** @returns {[number, number]} least and greatest value shown */
  #bounds() {
    let [least, greatest] = [Infinity, -Infinity];
    for (const point of this.#drawn) {
      const value = this.#value(point);
      least = Math.min(least, point.min ?? value);
      greatest = Math.max(greatest, point.max ?? value);
    }
    return least <= greatest ? [least, greatest] : [0, 0];
  }

  /** Laying out text takes most of the time of drawing: axes that are as before stay. */
  #drawAxes() {
    const ticks = this.#drawn.length === 0 ? [] : valueTicks(this.#scale);
    const axes = [ticks.map(({ text }) => text), this.#fromMs, this.#toMs, this.#width, this.#height].join();
    if (axes === this.#axesBefore) return;
    this.#axesBefore = axes;
    this.#svg.setAttribute("viewBox", `0 0 ${this.#width} ${this.#height}`);
    this.#crosshair.setAttribute("y2", String(this.#height - MARGIN.bottom));
    this.#axes.replaceChildren(...this.#valueLabels(ticks), ...this.#timeLabels());
  }

  /**
   * @param {readonly { value: number, text: string }[]} ticks
   * @returns {SVGElement[]} horizontal lines and their labels
   */
  #valueLabels(ticks) {
    const longest = Math.max(0, ...ticks.map(({ text }) => text.length));
    this.#left = Math.max(MARGIN.left, Math.ceil(longest * CHARACTER_PX) + 12);
    return ticks.flatMap(({ value, text }, i) => {
      const y = this.#y(value);
      const label = { class: "label", x: this.#left - 10, y: y + 4, "text-anchor": "end" };
      const line = { x1: this.#left, x2: this.#width - MARGIN.right, y1: y, y2: y };
      return [svg("line", { class: i === 0 ? "axis" : "grid", ...line }), svg("text", label, text)];
    });
  }

  #timeLabels() {
    const isLong = this.#toMs - this.#fromMs > DAY_MS;
    const most = Math.max(4, this.#plotWidth() / (isLong ? 80 : 110));
    return timeTicks(this.#fromMs, this.#toMs, most).flatMap(({ at, text }) => {
      const x = this.#x(at);
      if (x < this.#left + 14 || x > this.#width - 18) return [];
      const place = { class: "label", x: round(x), y: this.#height - 4, "text-anchor": "middle" };
      return [svg("text", place, text)];
    });
  }

  /** @returns {SVGElement[]} */
  #paths() {
    const { form } = /** @type {Series} */ (this.#series);
    const points = this.#drawn.map((point, i) => {
      const value = this.#value(point);
      const at = /** @type {number} */ (this.#moments[i]);
      const [low, high] = [this.#y(point.min ?? value), this.#y(point.max ?? value)];
      return { at, x: round(this.#x(at)), y: this.#y(value), low, high };
    });
    const floor = this.#height - MARGIN.bottom;
    if (form === "bars") {
      const width = Math.max(1, this.#plotWidth() * this.#stepMs / (this.#toMs - this.#fromMs) * 0.72);
      const isRunning = this.#drawn.at(-1)?.isRunning;
      const ended = isRunning ? points.slice(0, -1) : points;
      return [
        svg("path", { class: "bars", d: barsPath(ended, width, floor) }),
        svg("path", { class: "running", d: barsPath(isRunning ? points.slice(-1) : [], width, floor) }),
      ];
    }
    const isBand = form === "band";
    if (!isBand && points.length < 2) return [];
    const below = isBand ? bandPath(points, this.#maxGapMs) : areaPath(points, floor);
    return [
      svg("path", { class: isBand ? "band" : "area", d: below }),
      svg("path", { class: "line", d: linePath(points, this.#maxGapMs) }),
    ];
  }

  /**
   * @param {number} least
   * @param {number} greatest
   */
  #summary(least, greatest) {
    const { format, form, title } = /** @type {Series} */ (this.#series);
    const last = this.#drawn.at(-1);
    if (last === undefined) return `${title ?? "Chart"}: no data in this time`;
    const [from, to] = [this.#drawn[0], last].map((point) => this.#time(/** @type {Point} */ (point)));
    const lowest = form === "band" ? `lowest ${format(least)}, ` : "";
    return `${title ?? "Chart"} from ${from} to ${to}: ` +
      `latest ${format(this.#value(last))}${last.isRunning ? " so far" : ""}, ${lowest}highest ${
        format(greatest)
      }. Arrow keys read values.`;
  }

  /** @param {Point} point */
  #time({ start_ms }) {
    if (this.#toMs - this.#fromMs > DAY_MS) return formatDayAndClock(start_ms);
    return formatClock(start_ms, start_ms % MINUTE_MS !== 0 || this.#stepMs < MINUTE_MS);
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    const last = this.#drawn.length - 1;
    const before = this.#pointedIndex();
    const [left, right] = before < 0 ? [last, last] : [before - 1, before + 1];
    const index = { ArrowLeft: left, ArrowRight: right, Home: 0, End: last }[event.key];
    if (index === undefined) return;
    event.preventDefault();
    this.#cursor.move(this.#moments[Math.min(last, Math.max(0, index))]);
  }

  /** @param {PointerEvent} event */
  #pointAt({ clientX }) {
    const x = clientX - this.#host.getBoundingClientRect().left;
    const part = Math.min(1, Math.max(0, (x - this.#left) / this.#plotWidth()));
    const atMs = this.#fromMs + part * (this.#toMs - this.#fromMs);
    this.#cursor.move(this.#moments[nearest(this.#moments, atMs)] ?? atMs);
  }

  /** @returns {number} of the point nearest to the cursor; -1 without one */
  #pointedIndex() {
    const { atMs } = this.#cursor;
    if (atMs === undefined || atMs < this.#fromMs || atMs > this.#toMs) return -1;
    const index = nearest(this.#moments, atMs);
    const distance = Math.abs(/** @type {number} */ (this.#moments[index]) - atMs);
    return distance <= Math.max(this.#maxGapMs / 2, this.#stepMs) ? index : -1;
  }

  /** Shows the point at the cursor. */
  showCursor() {
    const index = this.#pointedIndex();
    const point = this.#drawn[index];
    this.#crosshair.style.display = this.#spot.style.display = point === undefined ? "none" : "";
    this.#readout.hidden = point === undefined;
    if (point === undefined) return;
    const { read } = /** @type {Series} */ (this.#series);
    const x = round(this.#x(/** @type {number} */ (this.#moments[index])));
    setAttributes(this.#crosshair, { x1: x, x2: x });
    setAttributes(this.#spot, { cx: x, cy: this.#y(this.#value(point)) });
    const soFar = point.isRunning ? " so far" : "";
    const text = `${this.#time(point)}${soFar}  ${read(point, this.#stepMs)}`;
    if (this.#readout.textContent !== text) this.#readout.textContent = text;
    // By its own width, which need not be measured: at the left edge it begins at x, at the right one it ends there.
    const part = (x - this.#left) / this.#plotWidth();
    this.#readout.style.left = `${x}px`;
    this.#readout.style.translate = `${round(-100 * part)}% 0`;
  }

  /** @param {Point} point */
  #value(point) {
    return /** @type {Series} */ (this.#series).value(point, this.#stepMs);
  }

  #plotWidth() {
    return this.#width - this.#left - MARGIN.right;
  }

  /** @param {number} atMs */
  #x(atMs) {
    return this.#left + this.#plotWidth() * (atMs - this.#fromMs) / (this.#toMs - this.#fromMs || 1);
  }

  /** @param {number} value */
  #y(value) {
    const { low, high } = this.#scale;
    const floor = this.#height - MARGIN.bottom;
    const part = Math.min(1, Math.max(0, (value - low) / (high - low)));
    return round(floor - (floor - MARGIN.top) * part);
  }
}

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 * @param {string} [text]
 * @returns {SVGElement}
 */
function svg(name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  setAttributes(element, attributes);
  if (text !== undefined) element.textContent = text;
  return element;
}

/**
 * @param {Element} element
 * @param {Record<string, string | number>} attributes
 */
function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
}
