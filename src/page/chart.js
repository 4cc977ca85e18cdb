/**
 * Charts of packets over time, drawn as SVG. CSS sets the colours, for light, dark and print.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
import { formatClock, formatRate } from "./format.js";

/**
 * @typedef {object} Point
 * @property {number} start_ms
 * @property {number} packets
 * @property {number} [ms] time in which they were stored; default: the whole step
 * @property {boolean} [isRunning] the period has not ended
 *
 * @typedef {object} Series
 * @property {readonly Point[]} points oldest first, without gaps
 * @property {number} stepMs time from one point to the next
 * @property {"area" | "bars"} form
 * @property {(packets: number, ms: number) => number} value to draw for a point
 * @property {(value: number) => string} format text of a value
 * @property {string} unit as in packets/s
 */

const MARGIN = { top: 12, right: 2, bottom: 24, left: 44 };
/** Points that would be closer than this are merged: more would be noise. */
const MIN_POINT_DISTANCE_PX = 2.5;
const TICK_STEPS_MS = [
  60_000,
  120_000,
  300_000,
  900_000,
  1_800_000,
  3 * 3_600_000,
  6 * 3_600_000,
  12 * 3_600_000,
];

/** A chart in `host`, with a crosshair that the pointer and the arrow keys move. */
export class Chart {
  #host;
  #svg = svg("svg", { role: "img", tabindex: 0 });
  #readout = document.createElement("output");
  /** @type {Series | undefined} */
  #series;
  /** @type {readonly Point[]} */
  #drawn = [];
  #drawnStepMs = 0;
  #maximum = 1;
  #width = 0;
  #height = 0;
  #crosshair = svg("line", { class: "crosshair", y1: MARGIN.top });
  #spot = svg("circle", { class: "spot", r: 3.5 });
  /** Start of the point under the crosshair; stays while the chart moves. @type {number | undefined} */
  #pointedMs;

  /** @param {HTMLElement} host */
  constructor(host) {
    this.#host = host;
    this.#readout.className = "readout";
    this.#readout.hidden = true;
    host.append(this.#svg, this.#readout);
    host.addEventListener("pointermove", (event) => this.#pointAt(event.clientX));
    host.addEventListener("pointerdown", (event) => this.#pointAt(event.clientX));
    host.addEventListener("pointerleave", () => this.#point(undefined));
    this.#svg.addEventListener("blur", () => this.#point(undefined));
    this.#svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      const before = this.#pointedIndex();
      this.#point(Math.max(0, (before < 0 ? this.#drawn.length : before) + step));
    });
    new ResizeObserver(() => this.#draw()).observe(host);
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
    this.#crosshair.setAttribute("y2", String(this.#height - MARGIN.bottom));
    this.#drawn = downsample(series, this.#plotWidth() / MIN_POINT_DISTANCE_PX);
    this.#drawnStepMs = this.#drawn.length > 1
      ? /** @type {Point} */ (this.#drawn[1]).start_ms - /** @type {Point} */ (this.#drawn[0]).start_ms
      : series.stepMs;
    const greatest = Math.max(0, ...this.#drawn.map((point) => this.#value(point)));
    const tick = niceStep(greatest / 3);
    this.#maximum = Math.max(tick, Math.ceil(greatest / tick) * tick);
    const parts = [
      ...this.#valueLabels(tick),
      ...this.#timeLabels(),
      ...(series.form === "area" ? this.#areaPaths() : this.#barPaths()),
    ];
    this.#svg.setAttribute("viewBox", `0 0 ${this.#width} ${this.#height}`);
    this.#svg.replaceChildren(...parts, this.#crosshair, this.#spot);
    // A screen reader on the chart would announce each change.
    if (document.activeElement !== this.#svg) this.#svg.setAttribute("aria-label", this.#summary(greatest));
    this.#point(this.#pointedIndex());
  }

  /**
   * @param {number} tick from one value to the next
   * @returns {SVGElement[]} horizontal lines and their labels
   */
  #valueLabels(tick) {
    const parts = [];
    for (let value = 0; value <= this.#maximum + tick / 2; value += tick) {
      const y = this.#y(value);
      const type = value === 0 ? "axis" : "grid";
      const label = { class: "label", x: MARGIN.left - 10, y: y + 4, "text-anchor": "end" };
      parts.push(
        svg("line", { class: type, x1: MARGIN.left, x2: this.#width - MARGIN.right, y1: y, y2: y }),
        svg("text", label, shorten(value)),
      );
    }
    return parts;
  }

  #areaPaths() {
    const last = this.#drawn.length - 1;
    if (last < 1) return [];
    const line = this.#drawn.map((point, i) =>
      `${i ? "L" : "M"}${round(this.#x(i))} ${round(this.#y(this.#value(point)))}`
    ).join("");
    const floor = this.#y(0);
    const area = `${line}L${round(this.#x(last))} ${floor}L${round(this.#x(0))} ${floor}Z`;
    return [svg("path", { class: "area", d: area }), svg("path", { class: "line", d: line })];
  }

  #barPaths() {
    const width = Math.max(1, this.#plotWidth() / this.#drawn.length * 0.72);
    const bars = this.#drawn.map((point, i) => {
      const y = this.#y(this.#value(point));
      const height = this.#y(0) - y;
      const corner = `${round(this.#x(i) - width / 2)} ${round(y)}`;
      return height > 0 ? `M${corner}h${round(width)}v${round(height)}h${round(-width)}z` : "";
    });
    const running = this.#drawn.at(-1)?.isRunning ? bars.pop() ?? "" : "";
    return [svg("path", { class: "bars", d: bars.join("") }), svg("path", { class: "running", d: running })];
  }

  #timeLabels() {
    const first = this.#drawn[0];
    const last = this.#drawn.at(-1);
    if (first === undefined || last === undefined) return [];
    const span = last.start_ms - first.start_ms;
    const most = Math.max(4, this.#plotWidth() / 110);
    const step = TICK_STEPS_MS.find((ms) => span / ms <= most) ?? span;
    const zoneMs = new Date(last.start_ms).getTimezoneOffset() * 60_000;
    const labels = [];
    for (
      let at = Math.ceil((first.start_ms - zoneMs) / step) * step + zoneMs;
      at <= last.start_ms;
      at += step
    ) {
      const x = this.#x((at - first.start_ms) / this.#drawnStepMs);
      if (x < MARGIN.left + 14 || x > this.#width - 18) continue;
      labels.push(
        svg(
          "text",
          { class: "label", x, y: this.#height - 4, "text-anchor": "middle" },
          formatClock(at, false),
        ),
      );
    }
    return labels;
  }

  /** @param {number} greatest */
  #summary(greatest) {
    const { format, unit } = /** @type {Series} */ (this.#series);
    const last = this.#drawn.at(-1);
    if (last === undefined) return "Chart without data";
    const from = formatClock(/** @type {Point} */ (this.#drawn[0]).start_ms, false);
    return `Chart from ${from} to ${formatClock(last.start_ms, false)}: ` +
      `latest ${format(this.#value(last))} ${unit}${last.isRunning ? " so far" : ""}, highest ${
        format(greatest)
      }. Arrow keys read values.`;
  }

  /** @param {number} clientX */
  #pointAt(clientX) {
    const x = clientX - this.#host.getBoundingClientRect().left;
    this.#point(Math.max(0, Math.round(this.#index(x))));
  }

  /** @returns {number} -1 without a crosshair */
  #pointedIndex() {
    const startMs = this.#pointedMs;
    return startMs === undefined ? -1 : this.#drawn.findIndex(({ start_ms }) => start_ms === startMs);
  }

  /** @param {number | undefined} wanted index of the point to show; undefined or below zero: none */
  #point(wanted) {
    const index = Math.min(wanted ?? -1, this.#drawn.length - 1);
    const point = this.#drawn[index];
    this.#pointedMs = point?.start_ms;
    this.#crosshair.style.display = this.#spot.style.display = point === undefined ? "none" : "";
    this.#readout.hidden = point === undefined;
    if (point === undefined) return;
    const { format, unit, stepMs, form } = /** @type {Series} */ (this.#series);
    const x = this.#x(index);
    const value = this.#value(point);
    setAttributes(this.#crosshair, { x1: x, x2: x });
    setAttributes(this.#spot, { cx: x, cy: this.#y(value) });
    const soFar = point.isRunning ? " so far" : "";
    // The count of an incomplete period does not show the rate.
    const pace = point.isRunning && point.ms && form === "bars"
      ? `, ${formatRate(point.packets * 1000 / point.ms)} packets/s`
      : "";
    const text = `${formatClock(point.start_ms, stepMs < 60_000)}${soFar}  ${format(value)} ${unit}${pace}`;
    if (this.#readout.textContent !== text) this.#readout.textContent = text;
    const left = Math.min(
      Math.max(x - this.#readout.offsetWidth / 2, MARGIN.left),
      this.#width - this.#readout.offsetWidth,
    );
    this.#readout.style.left = `${left}px`;
  }

  /** @param {Point} point */
  #value(point) {
    return /** @type {Series} */ (this.#series).value(point.packets, point.ms ?? this.#drawnStepMs);
  }

  #plotWidth() {
    return this.#width - MARGIN.left - MARGIN.right;
  }

  /** @param {number} index */
  #x(index) {
    const n = this.#drawn.length;
    return MARGIN.left +
      this.#plotWidth() * (this.#series?.form === "bars" ? (index + 0.5) / n : n > 1 ? index / (n - 1) : 0);
  }

  /** @param {number} x */
  #index(x) {
    const n = this.#drawn.length;
    const part = (x - MARGIN.left) / this.#plotWidth();
    return this.#series?.form === "bars" ? part * n - 0.5 : part * (n - 1);
  }

  /** @param {number} value */
  #y(value) {
    const floor = this.#height - MARGIN.bottom;
    return round(floor - (floor - MARGIN.top) * value / this.#maximum);
  }
}

/**
 * Merges neighbours until about `most` points are left; the bounds of the merged periods do not move with time. The last
 * point may have fewer members, as its rate is over their time; the first is left out unless it has all of them.
 *
 * @param {Series} series
 * @param {number} most
 * @returns {readonly Point[]}
 */
function downsample({ points, stepMs }, most) {
  const together = Math.ceil(points.length / most);
  if (together <= 1) return points;
  const widthMs = together * stepMs;
  /** @type {Required<Point>[]} */
  const merged = [];
  for (const { start_ms, packets, ms = stepMs, isRunning = false } of points) {
    const start = Math.floor(start_ms / widthMs) * widthMs;
    let group = merged.at(-1);
    if (group?.start_ms !== start) {
      merged.push(group = { start_ms: start, packets: 0, ms: 0, isRunning: false });
    }
    group.packets += packets;
    group.ms += ms;
    group.isRunning ||= isRunning;
  }
  if (
    merged.length > 1 && /** @type {Point} */
    (points[0]).start_ms > /** @type {Point} */ (merged[0]).start_ms
  ) {
    merged.shift();
  }
  return merged;
}

/** @param {number} atLeast */
function niceStep(atLeast) {
  if (atLeast <= 1 / 3) return 1;
  const power = 10 ** Math.floor(Math.log10(atLeast));
  return power * (/** @type {number} */ ([1, 2, 5, 10].find((factor) => factor * power >= atLeast)));
}

/** @param {number} value */
function shorten(value) {
  if (value >= 1e6) return `${round(value / 1e6)}M`;
  return value >= 10_000 ? `${round(value / 1000)}k` : String(round(value));
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
