/**
 * The charts of one device, of its packets and of each of its values: over the same time, with one cursor.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { DeviceDetail, DeviceHistory } from "./shapes.ts" */
/** @import { Point } from "./chart_scale.js" */
import { deviceUrl, request } from "./api.js";
import { Chart, Cursor } from "./chart.js";
import { joinPackets } from "./chart_scale.js";
import { byId, setText } from "./dom.js";
import { formatCount, formatRate } from "./format.js";
import { TimeRange } from "./time_range.js";
import { ValueChart } from "./value_chart.js";

const HOUR_MS = 3_600_000;
/** How often the histories are requested again. */
const REFRESH_MS = { minutes: 10_000, hours: 60_000 };

/** The charts, and the choice of their time. */
export class DeviceCharts {
  #cursor = new Cursor();
  #packets = new Chart(byId("device-chart"), this.#cursor);
  #range;
  #shared;
  /** @type {string | undefined} */
  #deviceId;
  /** @type {DeviceHistory | undefined} */
  #history;
  /** By name. @type {Map<string, ValueChart>} */
  #values = new Map();
  /** Undefined: not yet. @type {number | undefined} */
  #loadedAtMs;

  /** @param {() => number} serverNow Unix milliseconds by the api's clock */
  constructor(serverNow) {
    this.#range = new TimeRange(serverNow, () => this.#changed());
    this.#shared = { cursor: this.#cursor, span: () => this.#range.span() };
  }

  /** @param {string} deviceId charts of another device are removed */
  open(deviceId) {
    this.#deviceId = deviceId;
    this.#history = this.#loadedAtMs = undefined;
    for (const chart of this.#values.values()) chart.remove();
    this.#values.clear();
    this.#cursor.move(undefined);
    this.#range.readAddress();
    this.#showLayout();
  }

  /** Sets the time from the address bar. */
  readAddress() {
    this.#range.readAddress();
    this.#changed();
  }

  /** @param {DeviceDetail} device its latest values */
  show({ first_seen_ms, values, values_at_ms, values_dropped, tags }) {
    this.#range.since(first_seen_ms);
    let isNew = false;
    for (const { name, value } of values) {
      let chart = this.#values.get(name);
      if (chart === undefined && this.#deviceId !== undefined) {
        isNew = true;
        this.#values.set(name, chart = new ValueChart(this.#deviceId, name, this.#shared));
        byId("charts").append(chart.element);
        chart.load();
      }
      chart?.show(value, values_at_ms ?? 0, tags);
    }
    if (isNew) this.#showLayout();
    byId("values-dropped").hidden = values_dropped === 0;
    setText(byId("values-dropped-count"), formatCount(values_dropped));
  }

  /** Requests all histories again. */
  async load() {
    const deviceId = this.#deviceId;
    if (deviceId === undefined) return;
    this.#loadedAtMs = performance.now();
    for (const chart of this.#values.values()) chart.load();
    const history = await request(deviceUrl(deviceId, "/history")).catch(() => undefined);
    if (history === undefined || deviceId !== this.#deviceId) return;
    this.#history = history;
    this.#drawPackets();
  }

  /** Called every second. */
  tick() {
    const loadedAtMs = this.#loadedAtMs;
    if (loadedAtMs === undefined) return void this.load();
    const { stepMs, isLive } = this.#range.span();
    const refreshMs = stepMs === HOUR_MS ? REFRESH_MS.hours : REFRESH_MS.minutes;
    if (isLive && performance.now() - loadedAtMs > refreshMs) this.load();
  }

  #changed() {
    this.#drawPackets();
    this.load();
  }

  #showLayout() {
    byId("charts").toggleAttribute("data-several", this.#values.size > 0);
  }

  #drawPackets() {
    const { fromMs, toMs, stepMs } = this.#range.span();
    setText(byId("history-unit"), stepMs === HOUR_MS ? "hour" : "minute");
    const history = this.#history;
    if (history === undefined) return;
    const periods = stepMs === HOUR_MS ? history.hours : history.minutes;
    const first = periods[0]?.start_ms ?? 0;
    byId("packets-kept").hidden = fromMs >= first;
    const points = periods.map((point, i) => {
      const isRunning = i === periods.length - 1;
      return isRunning
        ? { ...point, isRunning, ms: Math.max(1000, history.until_ms - point.start_ms) }
        : point;
    }).filter(({ start_ms }) => start_ms >= fromMs && start_ms < toMs);
    this.#packets.draw({
      title: "Packets",
      points,
      stepMs,
      fromMs,
      toMs,
      form: "bars",
      value: ({ packets = 0 }) => packets,
      join: joinPackets,
      format: packetsText,
      read: readPackets,
    });
  }
}

/** @param {number} packets */
function packetsText(packets) {
  return `${formatCount(packets)} packets`;
}

/**
 * The count of an incomplete period does not show the rate.
 *
 * @param {Point} point
 */
function readPackets({ packets = 0, ms, isRunning }) {
  const pace = isRunning && ms ? `, ${formatRate(packets * 1000 / ms)} packets/s` : "";
  return packetsText(packets) + pace;
}
