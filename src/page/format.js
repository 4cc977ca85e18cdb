/**
 * Formats numbers, times and untrusted text.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const hundredths = new Intl.NumberFormat("en", { maximumSignificantDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const clockMinutes = new Intl.DateTimeFormat("en-GB", { timeStyle: "short" });
const dayAndMinutes = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
});
const dayOnly = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const dateAndTime = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/** Shown in place of a value that is not known. */
export const UNKNOWN = "–";

/**
 * @param {number} value
 * @returns {string} as in 1,234,567
 */
export function formatCount(value) {
  return whole.format(value);
}

/**
 * One decimal below 100, more below 0.05, so that a device of one packet a minute does not look offline.
 *
 * @param {number | null} perSecond
 * @returns {string}
 */
export function formatRate(perSecond) {
  if (perSecond === null) return UNKNOWN;
  if (perSecond === 0 || perSecond >= 99.95) return whole.format(perSecond);
  return (perSecond < 0.05 ? hundredths : tenths).format(perSecond);
}

/** From this interval on, the interval is shown in place of the rate, which would be near zero. */
const MIN_INTERVAL_MS = 10_000;
/** After more intervals without a packet than this, the device no longer sends at its interval. */
const MAX_MISSED_INTERVALS = 3;

/**
 * How often a device sends: packets per second, or its interval when that is long.
 *
 * @param {{ rate_10s: number | null, last_seen_ms: number, interval_ms: number | null }} device
 * @param {number} nowMs
 * @returns {string} as in 12.5, or every 5 min
 */
export function formatPace({ rate_10s, last_seen_ms, interval_ms }, nowMs) {
  const isSeldom = interval_ms !== null && interval_ms >= MIN_INTERVAL_MS &&
    nowMs - last_seen_ms <= MAX_MISSED_INTERVALS * interval_ms;
  return isSeldom ? `every ${formatInterval(interval_ms)}` : formatRate(rate_10s);
}

/**
 * @param {number} ms
 * @returns {string} as in 90 s, 5 min, 2 h, 3 d: rounded, with two units' worth of the smaller one
 */
function formatInterval(ms) {
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} h` : `${whole.format(Math.round(hours / 24))} d`;
}

/**
 * 0 % and 100 % mean none and all; values near them have a decimal.
 *
 * @param {number} part
 * @param {number} all above zero
 * @returns {string} as in 97 %, 99.9 %
 */
export function formatShare(part, all) {
  const percent = 100 * part / all;
  if (part === 0 || part === all || percent >= 1 && percent < 98.5) return `${Math.round(percent)} %`;
  if (percent < 0.1) return "< 0.1 %";
  return `${tenths.format(Math.min(percent, 99.9))} %`;
}

/**
 * @param {number} bytes
 * @returns {string} as in 512 bytes, 3.1 KiB
 */
export function formatBytes(bytes) {
  if (bytes < 1024) return bytes === 1 ? "1 byte" : `${bytes} bytes`;
  return bytes < 2 ** 20 ? `${tenths.format(bytes / 1024)} KiB` : `${tenths.format(bytes / 2 ** 20)} MiB`;
}

/**
 * @param {number} ms
 * @returns {string} as in 3 s, 5 min, 2 h, 4 d: the greatest unit that fits, rounded down
 */
export function formatDuration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${whole.format(Math.floor(seconds / 86_400))} d`;
}

/**
 * @param {number} atMs
 * @param {number} nowMs
 * @returns {string} as in 3 s ago
 */
export function formatAgo(atMs, nowMs) {
  return nowMs - atMs < 1000 ? "now" : `${formatDuration(nowMs - atMs)} ago`;
}

/**
 * @param {number} ms
 * @param {boolean} withSeconds
 * @returns {string} the time of day here, as in 14:05 or 14:05:09
 */
export function formatClock(ms, withSeconds) {
  return (withSeconds ? clock : clockMinutes).format(ms);
}

/**
 * @param {number} ms
 * @param {number} nowMs
 * @returns {string} as in 14:05:09 today, and 21 Nov, 14:05 before
 */
export function formatMoment(ms, nowMs) {
  const isToday = new Date(ms).toDateString() === new Date(nowMs).toDateString();
  return isToday ? clock.format(ms) : dayAndMinutes.format(ms);
}

/**
 * @param {number} ms
 * @returns {string} as in 21 Nov
 */
export function formatDay(ms) {
  return dayOnly.format(ms);
}

/**
 * @param {number} ms
 * @returns {string} as in 21 Nov, 14:05
 */
export function formatDayAndClock(ms) {
  return dayAndMinutes.format(ms);
}

/**
 * A device may send any number as its timestamp, so this takes any.
 *
 * @param {number} ms
 * @returns {string} as in 21 Nov 2026, 14:05:09
 */
export function formatDate(ms) {
  return Math.abs(ms) <= 8.64e15 ? dateAndTime.format(ms) : `${ms} ms`;
}

// C0 and DEL have symbols in Unicode. Other characters that are invisible or change the direction of text are shown by
// their code: C1, soft hyphen, bidirectional marks, zero width (except U+200D, which joins emoji), line separators, tags.
// deno-lint-ignore no-control-regex
const unseen = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

/**
 * Replaces characters that are invisible or change the direction of the text around them.
 *
 * @param {string} text
 * @param {string} [keep] characters to keep, such as line breaks in text of several lines
 * @returns {string}
 */
export function visible(text, keep = "") {
  return text.replace(unseen, (character) => {
    if (keep.includes(character)) return character;
    const code = character.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    if (code === 0x7f) return "\u2421";
    return `[U+${code.toString(16).toUpperCase().padStart(4, "0")}]`;
  });
}

/**
 * @param {{ text: string | null, base64: string | null }} payload
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function payloadBytes({ text, base64 }) {
  if (text !== null) return new TextEncoder().encode(text);
  return Uint8Array.from(atob(base64 ?? ""), (character) => character.charCodeAt(0));
}
