/**
 * Numbers, times and hostile text, made readable.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const clockMinutes = new Intl.DateTimeFormat("en-GB", { timeStyle: "short" });
const dayAndMinutes = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
});
const dateAndTime = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/** What stands where nothing is known. */
export const UNKNOWN = "–";

/**
 * @param {number} value
 * @returns {string} as in 1,234,567
 */
export function formatCount(value) {
  return whole.format(value);
}

/**
 * One decimal below 100, so that a device of one packet in ten seconds does not read as silent.
 *
 * @param {number | null} perSecond
 * @returns {string}
 */
export function formatRate(perSecond) {
  if (perSecond === null) return UNKNOWN;
  return perSecond === 0 || perSecond >= 99.95 ? whole.format(perSecond) : tenths.format(perSecond);
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
 * A device says any number is its time, so this takes any.
 *
 * @param {number} ms
 * @returns {string} as in 21 Nov 2026, 14:05:09
 */
export function formatDate(ms) {
  return Math.abs(ms) <= 8.64e15 ? dateAndTime.format(ms) : `${ms} ms`;
}

// C0 and DEL have pictures in Unicode. What else is not seen or turns its surroundings around is named:
// C1, soft hyphen, the marks of bidirectional text, zero width (not U+200D, emoji are joined with it),
// line separators, tags.
// deno-lint-ignore no-control-regex
const unseen = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

/**
 * Makes characters seen that are not, or that turn the text around them.
 *
 * @param {string} text
 * @param {string} [keep] characters to leave as they are, such as line breaks where they break lines
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

/**
 * @param {Uint8Array} bytes
 * @param {number} perLine
 * @returns {string} offset, bytes, and what of them is ASCII
 */
export function hexDump(bytes, perLine) {
  const lines = [];
  for (let start = 0; start < bytes.length; start += perLine) {
    const line = [...bytes.subarray(start, start + perLine)];
    const hex = line.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const ascii = line.map((byte) => byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·").join("");
    lines.push(`${start.toString(16).padStart(6, "0")}  ${hex.padEnd(perLine * 3 - 1)}  ${ascii}`);
  }
  return lines.join("\n");
}

/**
 * Lays JSON out without parsing its numbers, as 12345678901234567890 would come back as another one.
 *
 * @param {string} text
 * @returns {string | undefined} undefined if the text is not JSON
 */
export function indentJson(text) {
  try {
    JSON.parse(text);
  } catch {
    return undefined;
  }
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
  let depth = 0;
  const newLine = () => `\n${"  ".repeat(depth)}`;
  return tokens.map((token, index) => {
    const before = tokens[index - 1] ?? "";
    if (token === "}" || token === "]") {
      depth--;
      return before === "{" || before === "[" ? token : newLine() + token;
    }
    const opened = before === "{" || before === "[" || before === ",";
    const lead = opened ? newLine() : before === ":" ? " " : "";
    if (token === "{" || token === "[") depth++;
    return lead + token;
  }).join("");
}
