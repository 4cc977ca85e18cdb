/**
 * The last half hour of each device in the table.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { DeviceHistories, DeviceRow } from "./shapes.ts" */
import { request } from "./api.js";
import { sparkline } from "./chart.js";

const MINUTES = 30;
const HEIGHT = 20;
/** As many as the api takes at a time. */
const MAX_IDS = 200;
/** Some pages of the table, so that going back shows them at once. */
const MAX_KEPT = 500;

/** Reads histories for the rows shown, all in one request, and draws them. */
export class Sparklines {
  /** Minutes that are over, by device. @type {Map<string, { minute: number, packets: number[] }>} */
  #kept = new Map();
  #isLoading = false;
  /** Requested while a request was in flight. @type {readonly string[] | undefined} */
  #next;
  #onLoaded;

  /** @param {() => void} onLoaded called when there is more to draw */
  constructor(onLoaded) {
    this.#onLoaded = onLoaded;
  }

  /** @param {readonly string[]} deviceIds the devices shown, whose histories to read where they are not known */
  async want(deviceIds) {
    const minute = currentMinute();
    const missing = deviceIds.filter((id) => this.#kept.get(id)?.minute !== minute).slice(0, MAX_IDS);
    if (missing.length === 0) return;
    if (this.#isLoading) return void (this.#next = deviceIds);
    this.#isLoading = true;
    const query = missing.map((id) => `devices=${encodeURIComponent(id)}`).join("&");
    /** @type {DeviceHistories | undefined} */
    const answer = await request(`/histories?${query}`).catch(() => undefined);
    const found = new Map(answer?.histories.map(({ device_id, minutes }) => [device_id, minutes]));
    for (const id of missing) {
      const before = this.#kept.get(id)?.packets ?? [];
      this.#kept.delete(id);
      // What failed is not tried again before the next minute.
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
    if (next !== undefined) this.want(next);
  }

  /**
   * @param {Element} cell
   * @param {DeviceRow} device whose rate of the last minute stands for this one
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
