/**
 * Sparklines in the table: packets of each device in the last half hour.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { DeviceHistories, DeviceRow } from "./shapes.ts" */
import { request } from "./api.js";
import { round } from "./chart_scale.js";

const MINUTES = 30;
const HEIGHT = 20;
/** The api's maximum for one request. */
const MAX_IDS = 200;
/** Histories of several pages of the table, so that going back shows them at once. */
const MAX_KEPT = 500;

/** Requests the histories of all rows in one request, and draws them. */
export class Sparklines {
  /** Complete minutes, by device. @type {Map<string, { minute: number, packets: number[] }>} */
  #kept = new Map();
  #isLoading = false;
  /** Requested while a request was in flight. @type {readonly string[] | undefined} */
  #next;
  #onLoaded;

  /** @param {() => void} onLoaded called when histories were received */
  constructor(onLoaded) {
    this.#onLoaded = onLoaded;
  }

  /** @param {readonly string[]} deviceIds the devices shown; only missing histories are requested */
  async load(deviceIds) {
    const minute = currentMinute();
    const missing = deviceIds.filter((id) => this.#kept.get(id)?.minute !== minute).slice(0, MAX_IDS);
    if (missing.length === 0) return;
    if (this.#isLoading) return void (this.#next = deviceIds);
    this.#isLoading = true;
    const query = missing.map((id) => `devices=${encodeURIComponent(id)}`).join("&");
    /** @type {DeviceHistories | undefined} */
    const response = await request(`/histories?${query}`).catch(() => undefined);
    const found = new Map(response?.histories.map(({ device_id, minutes }) => [device_id, minutes]));
    for (const id of missing) {
      const before = this.#kept.get(id)?.packets ?? [];
      this.#kept.delete(id);
      // A failed request is not repeated before the next minute.
      this.#kept.set(id, { minute, packets: found.get(id)?.slice(-MINUTES, -1) ?? before });
    }
    for (const id of this.#kept.keys()) {
      if (this.#kept.size <= MAX_KEPT) break;
      this.#kept.delete(id);
    }
    this.#isLoading = false;
    this.#onLoaded();
    const next = this.#next;
    this.#next = undefined;
    if (next !== undefined) this.load(next);
  }

  /**
   * @param {Element} cell
   * @param {DeviceRow} device its rate over the last minute is drawn as the current minute
   */
  draw(cell, { device_id, rate_1m }) {
    const past = this.#kept.get(device_id)?.packets ?? [];
    const bars = [...past, rate_1m * 60];
    const path = sparkline(bars, HEIGHT);
    const lastBar = path.lastIndexOf("M");
    const shift = `translate(${(MINUTES - bars.length) * 3} 0)`;
    const [pastPath, nowPath] = cell.children;
    setIfChanged(pastPath, "d", path.slice(0, lastBar));
    setIfChanged(nowPath, "d", path.slice(lastBar));
    setIfChanged(pastPath, "transform", shift);
    setIfChanged(nowPath, "transform", shift);
  }
}

/**
 * The bars as an SVG path in a box of 3 × `values.length` by `height`; zero is a bar of half a unit.
 *
 * @param {readonly number[]} values
 * @param {number} height
 * @returns {string}
 */
function sparkline(values, height) {
  const greatest = Math.max(...values, 1e-9);
  return values.map((value, i) => {
    const bar = round(Math.max(value > 0 ? 1.5 : 0.5, height * value / greatest));
    return `M${i * 3} ${round(height - bar)}h2v${bar}h-2z`;
  }).join("");
}

function currentMinute() {
  return Math.floor(Date.now() / 60_000);
}

/**
 * @param {Element | undefined} element
 * @param {string} name
 * @param {string} value
 */
function setIfChanged(element, name, value) {
  if (element !== undefined && element.getAttribute(name) !== value) element.setAttribute(name, value);
}
