/**
 * The time that a device's charts show: the last so many minutes or days, or from one moment to another.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
import { changeAddress, readAddress } from "./address.js";
import { byId, check, checkedValue } from "./dom.js";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
/** Minutes are kept for an hour. */
const MINUTES_KEPT = 60;
const DEFAULT = "1h";
/** By their names in the address: how many periods of which length. */
const RANGES = /** @type {const} */ ({
  "15m": [15, MINUTE_MS],
  "1h": [60, MINUTE_MS],
  "24h": [24, HOUR_MS],
  "30d": [720, HOUR_MS],
});
/** The charts of a new device span at least so many periods. */
const MIN_PERIODS = 5;
/** In old addresses. @type {Readonly<Record<string, string>>} */
const FORMER_NAMES = { minutes: "1h", hours: "24h" };
const BETWEEN = "between";

/**
 * @typedef {object} Span
 * @property {number} fromMs start of its first period
 * @property {number} toMs end of its last one
 * @property {number} stepMs length of its periods: a minute or an hour
 * @property {boolean} isLive whether it ends now, and moves
 */

/** The choice at the top of the charts; the address has it. */
export class TimeRange {
  #from = /** @type {HTMLInputElement} */ (byId("range-from"));
  #to = /** @type {HTMLInputElement} */ (byId("range-to"));
  #serverNow;
  /** Before that, there is nothing to show. */
  #sinceMs = 0;

  /**
   * @param {() => number} serverNow Unix milliseconds by the api's clock
   * @param {() => void} onChange
   */
  constructor(serverNow, onChange) {
    this.#serverNow = serverNow;
    byId("device-range").addEventListener("change", () => {
      const chosen = checkedValue("device-range");
      if (chosen === BETWEEN) this.#fill(this.#between() ?? this.span(readAddress().get("range") ?? ""));
      this.#store();
      onChange();
    });
    byId("range-between").addEventListener("submit", (event) => event.preventDefault());
    byId("range-between").addEventListener("change", () => {
      const between = this.#between();
      this.#to.setCustomValidity(between === undefined ? "The end has to be after the beginning" : "");
      if (between === undefined) return void this.#to.reportValidity();
      this.#store();
      onChange();
    });
  }

  /** @param {number} firstSeenMs of the device: what ends now begins no earlier */
  since(firstSeenMs) {
    this.#sinceMs = firstSeenMs;
  }

  readAddress() {
    const query = readAddress();
    const [from, to] = [momentOf(query.get("from")), momentOf(query.get("to"))];
    const range = query.get("range") ?? "";
    if (from !== undefined && to !== undefined && from < to) {
      this.#fill({ fromMs: from, toMs: to });
      check("device-range", BETWEEN);
    } else check("device-range", rangeNamed(range));
    this.#showInputs();
  }

  /**
   * @param {string} [range] default: the chosen one
   * @returns {Span}
   */
  span(range = checkedValue("device-range")) {
    const nowMs = this.#serverNow();
    const between = range === BETWEEN ? this.#between() : undefined;
    if (between !== undefined) {
      const oldestMinute = (Math.floor(nowMs / MINUTE_MS) - MINUTES_KEPT + 1) * MINUTE_MS;
      const stepMs = between.fromMs >= oldestMinute ? MINUTE_MS : HOUR_MS;
      const fromMs = Math.floor(between.fromMs / stepMs) * stepMs;
      return {
        fromMs,
        toMs: Math.max(fromMs + stepMs, Math.ceil(between.toMs / stepMs) * stepMs),
        stepMs,
        isLive: between.toMs > nowMs,
      };
    }
    const [periods, stepMs] = RANGES[rangeNamed(range)];
    const toMs = (Math.floor(nowMs / stepMs) + 1) * stepMs;
    const first = Math.ceil((toMs - this.#sinceMs) / stepMs);
    const shown = Math.min(periods, Math.max(MIN_PERIODS, first));
    return { fromMs: toMs - shown * stepMs, toMs, stepMs, isLive: true };
  }

  /** @returns {{ fromMs: number, toMs: number } | undefined} undefined: the inputs have no such time */
  #between() {
    const [fromMs, toMs] = [Date.parse(this.#from.value), Date.parse(this.#to.value)];
    return fromMs < toMs ? { fromMs, toMs } : undefined;
  }

  /** @param {{ fromMs: number, toMs: number }} span */
  #fill({ fromMs, toMs }) {
    this.#from.value = localText(fromMs);
    this.#to.value = localText(toMs);
    this.#to.setCustomValidity("");
  }

  #store() {
    const chosen = checkedValue("device-range");
    const between = chosen === BETWEEN ? this.#between() : undefined;
    this.#showInputs();
    changeAddress({
      range: chosen === DEFAULT || chosen === BETWEEN ? "" : chosen,
      from: between === undefined ? "" : utcText(between.fromMs),
      to: between === undefined ? "" : utcText(between.toMs),
    }, { push: true });
  }

  #showInputs() {
    byId("range-between").hidden = checkedValue("device-range") !== BETWEEN;
  }
}

/**
 * @param {string} name
 * @returns {keyof typeof RANGES}
 */
function rangeNamed(name) {
  const range = FORMER_NAMES[name] ?? name;
  return Object.hasOwn(RANGES, range) ? /** @type {keyof typeof RANGES} */ (range) : DEFAULT;
}

/** Moments that the inputs and the address can have: four digits of a year. */
const [FIRST_MS, LAST_MS] = [0, Date.UTC(9999, 0)];

/** @param {string | null} text */
function momentOf(text) {
  const ms = Date.parse(text ?? "");
  return ms >= FIRST_MS && ms < LAST_MS ? ms : undefined;
}

/**
 * In the address, whoever opens it may be in another zone.
 *
 * @param {number} ms
 */
function utcText(ms) {
  return `${new Date(ms).toISOString().slice(0, 16)}Z`;
}

/** @param {number} ms */
function localText(ms) {
  return new Date(ms - new Date(ms).getTimezoneOffset() * MINUTE_MS).toISOString().slice(0, 16);
}
