/**
 * A line of the list of incidents.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { Incident } from "./shapes.ts" */
import { deviceLink } from "./api.js";
import { setText } from "./dom.js";
import { formatCount, formatDate, formatDuration, formatMoment, visible } from "./format.js";

/**
 * Shows an incident; called again while it lasts.
 *
 * @param {HTMLElement} line a copy of the template
 * @param {Incident} incident
 * @param {number} nowMs
 */
export function fillIncident(line, incident, nowMs) {
  const { state, severity, rule_name, started_ms, acknowledged } = incident;
  line.dataset.level = state === "firing" ? severity : "";
  setText(/** @type {Element} */ (line.querySelector("b")), visible(rule_name));
  setText(/** @type {Element} */ (line.querySelector(".what")), describe(incident, nowMs));
  const time = /** @type {HTMLTimeElement} */ (line.querySelector("time"));
  time.dateTime = new Date(started_ms).toISOString();
  time.title = formatDate(started_ms);
  setText(time, formatMoment(started_ms, nowMs));
  fillDevices(/** @type {HTMLElement} */ (line.querySelector(".devices")), incident);
  const button = /** @type {HTMLButtonElement} */ (line.querySelector("button"));
  button.hidden = state !== "firing" || acknowledged !== null;
  button.setAttribute("aria-label", `Acknowledge ${visible(rule_name)}`);
}

/**
 * @param {Incident} incident
 * @param {number} nowMs
 * @returns {string}
 */
function describe(
  { state, condition, devices, firing, value, started_ms, resolved_ms, acknowledged },
  nowMs,
) {
  const lasted = formatDuration((resolved_ms ?? nowMs) - started_ms);
  const parts = [
    state === "firing" ? `Open for ${lasted}` : `Resolved after ${lasted}`,
    visible(condition) + (value === null ? "" : ` (${value})`),
  ];
  if (devices > 1) {
    parts.push(
      state === "firing" && firing < devices
        ? `${formatCount(firing)} of ${formatCount(devices)} devices`
        : `${formatCount(devices)} devices`,
    );
  }
  if (acknowledged !== null) parts.push(`acknowledged by ${visible(acknowledged.by)}`);
  return parts.join(" · ");
}

/**
 * @param {HTMLElement} element
 * @param {Incident} incident
 */
function fillDevices(element, { first, devices }) {
  const shown = `${devices} ${JSON.stringify(first)}`;
  if (element.dataset.shown === shown) return;
  element.dataset.shown = shown;
  const links = first.flatMap((deviceId, i) => {
    const link = document.createElement("a");
    link.href = deviceLink(deviceId);
    const name = document.createElement("bdi");
    setText(name, visible(deviceId));
    link.append(name);
    return i === 0 ? [link] : [", ", link];
  });
  const more = devices > first.length ? ` and ${formatCount(devices - first.length)} more` : "";
  element.replaceChildren(...links, more);
}
