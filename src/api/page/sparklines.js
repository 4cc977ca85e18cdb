/**
 * The last half hour of each device in the table.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { DeviceHistory } from "./shapes.ts" */
import { deviceUrl, request } from "./api.js";
import { sparkline } from "./chart.js";

const MINUTES = 30;
const HEIGHT = 20;
/** Enough that they arrive within a blink, few enough to leave connections to the page's other requests. */
const REQUESTS_AT_ONCE = 3;
/** Some pages of the table, so that going back shows them at once. */
const MAX_KEPT = 500;

/** Reads histories for the rows shown, a few at a time, and draws them. */
export class Sparklines {
  /** Minutes that are over, by device. @type {Map<string, { minute: number, packets: number[] }>} */
  #kept = new Map();
  /** @type {Map<string, Element>} */
  #wanted = new Map();
  #underWay = 0;

  /**
   * Draws what is known of these devices, and gets the rest.
   *
   * @param {ReadonlyMap<string, Element>} cells the svg for each device shown
   */
  want(cells) {
    const minute = currentMinute();
    this.#wanted = new Map([...cells].filter(([deviceId]) => this.#kept.get(deviceId)?.minute !== minute));
    this.#fetchNext();
  }

  /**
   * @param {Element} cell
   * @param {string} deviceId
   * @param {number | null} rate packets/s now, which the bar of this minute stands for
   */
  draw(cell, deviceId, rate) {
    const past = this.#kept.get(deviceId)?.packets ?? [];
    const bars = [...past, (rate ?? 0) * 60];
    const path = sparkline(bars, HEIGHT);
    const lastBar = path.lastIndexOf("M");
    const shift = `translate(${(MINUTES - bars.length) * 3} 0)`;
    const [pastPath, nowPath] = cell.children;
    setIfChanged(pastPath, "d", path.slice(0, lastBar));
    setIfChanged(nowPath, "d", path.slice(lastBar));
    setIfChanged(pastPath, "transform", shift);
    setIfChanged(nowPath, "transform", shift);
  }

  #fetchNext() {
    while (this.#underWay < REQUESTS_AT_ONCE) {
      const next = this.#wanted.keys().next();
      if (next.done) return;
      this.#wanted.delete(next.value);
      this.#underWay++;
      this.#fetch(next.value).finally(() => {
        this.#underWay--;
        this.#fetchNext();
      });
    }
  }

  /** @param {string} deviceId */
  async #fetch(deviceId) {
    /** @type {DeviceHistory | undefined} */
    const history = await request(deviceUrl(deviceId, "/history")).catch(() => undefined);
    const before = this.#kept.get(deviceId)?.packets ?? [];
    this.#kept.delete(deviceId);
    // One that failed is not tried again before the next minute.
    const packets = history?.minutes.slice(-MINUTES, -1).map((point) => point.packets) ?? before;
    this.#kept.set(deviceId, { minute: currentMinute(), packets });
    if (this.#kept.size > MAX_KEPT) this.#kept.delete(/** @type {string} */ (this.#kept.keys().next().value));
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
