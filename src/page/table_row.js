/**
 * One device in the table.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { DeviceRow } from "./shapes.ts" */
/** @import { Sparklines } from "./sparklines.js" */
import { fillId, fromTemplate, setStatus, setText } from "./dom.js";
import {
  formatAgo,
  formatCount,
  formatDuration,
  formatPace,
  payloadBytes,
  UNKNOWN,
  visible,
} from "./format.js";

const PREVIEW_BYTES = 24;

/**
 * @typedef {object} Row
 * @property {HTMLTableRowElement} element
 * @property {DeviceRow} device
 */

/**
 * @param {DeviceRow} device
 * @returns {Row}
 */
export function newRow(device) {
  const element = /** @type {HTMLTableRowElement} */ (fromTemplate("row"));
  fillId(element, device.device_id);
  return { element, device };
}

/**
 * @param {Row} row
 * @param {number} nowMs Unix milliseconds by the api's clock
 */
export function fillRow(row, nowMs) {
  const { element, device } = row;
  setStatus(find(element, ".status"), device.status);
  const { name, device_id, tags } = device;
  const labels = [
    ...name ? [device_id] : [],
    ...Object.entries(tags ?? {}).map(([key, value]) => `${key}=${value}`),
  ];
  setText(find(element, "th bdi"), visible(name ?? device_id));
  setText(find(element, ".labels"), visible(labels.join("  ")));
  find(element, ".labels").toggleAttribute("hidden", labels.length === 0);
  setText(find(element, ".col-count"), formatCount(device.count));
  setText(find(element, ".col-payload bdi"), preview(device.payload));
  fillTimes(row, nowMs);
}

/**
 * @param {Row} row
 * @param {number} nowMs
 */
export function fillTimes({ element, device }, nowMs) {
  const clock = device.clock_ahead_ms > 0 ? `, clock ${formatDuration(device.clock_ahead_ms)} ahead` : "";
  setText(find(element, ".col-rate"), formatPace(device, nowMs));
  setText(find(element, ".col-seen"), formatAgo(device.last_seen_ms, nowMs) + clock);
}

/**
 * @param {Row} row
 * @param {Sparklines} sparklines
 */
export function drawSparkline({ element, device }, sparklines) {
  sparklines.draw(find(element, ".col-spark svg"), device);
}

/**
 * @param {Element} row
 * @param {string} selector of an element that every row has
 */
function find(row, selector) {
  return /** @type {Element} */ (row.querySelector(selector));
}

/**
 * @param {DeviceRow["payload"]} payload
 * @returns {string} the text, or the first bytes in hex when it is binary
 */
function preview(payload) {
  if (payload.bytes === 0) return UNKNOWN;
  if (payload.text !== null) return visible(payload.text);
  const bytes = [...payloadBytes(payload).subarray(0, PREVIEW_BYTES)];
  return bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
}
