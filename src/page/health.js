/**
 * Whether the fleet needs attention, and the text that explains it.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { FleetFigures } from "./shapes.ts" */

/** With a larger share of devices offline, one common cause is likely; the same as in alerts.yml. */
const MANY_OFFLINE = 0.2;

/** Counts that are later than this are no longer those of a large fleet that sends all it can; as in alerts.yml. */
const COUNTS_LATE_MS = 60_000;

/**
 * - `ok`
 * - `warning`: many devices are offline, or counts are late
 * - `alarm`: no device is online, or no packet can be received
 *
 * @typedef {object} Health
 * @property {"ok" | "warning" | "alarm"} level
 * @property {string} name for the document's title; empty at `ok`
 * @property {string} message a sentence or two; empty at `ok`
 */

/** @type {Health} */
export const HEALTHY = { level: "ok", name: "", message: "" };

/**
 * The texts have no numbers that change, as a screen reader would announce each change.
 *
 * @param {Pick<FleetFigures, "devices" | "online" | "instances" | "store">} figures
 * @returns {Health}
 */
export function healthOf({ devices, online, instances, store }) {
  // A new store without packets is no reason to warn.
  if (devices === 0) return HEALTHY;
  if (instances.length === 0) {
    const fleet = online === 0 ? " No device is online." : "";
    return {
      level: "alarm",
      name: "No ingest",
      message: `No ingest process reports to the store: devices cannot send.${fleet}`,
    };
  }
  if (online === 0) return { level: "alarm", name: "Fleet offline", message: "No device is online." };
  if ((devices - online) / devices <= MANY_OFFLINE) return lateness(store.counts_late_ms);
  const share = Math.round(MANY_OFFLINE * 100);
  return {
    level: "warning",
    name: "Many offline",
    message: `Many devices are offline: more than ${share} % of the fleet.`,
  };
}

/**
 * @param {number} lateMs
 * @returns {Health}
 */
function lateness(lateMs) {
  if (lateMs <= COUNTS_LATE_MS) return HEALTHY;
  const late = lateMs > 60 * 60_000 ? "an hour" : lateMs > 10 * 60_000 ? "ten minutes" : "a minute";
  return {
    level: "warning",
    name: "Counts late",
    message:
      `Counts of devices are more than ${late} late. No packet is lost: what is stored is counted as soon ` +
      "as the store has the time.",
  };
}
