/**
 * Whether the fleet needs someone's attention, in words.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { FleetFigures } from "./shapes.ts" */

/** With a larger share of devices offline a common cause is likelier than many of their own; as in alerts.yml. */
export const MANY_OFFLINE = 0.2;

/**
 * - `ok`
 * - `warning`: many devices are offline
 * - `alarm`: none is online, or no packet can come in
 *
 * @typedef {object} Health
 * @property {"ok" | "warning" | "alarm"} level
 * @property {string} name as in the document's title; empty if all is well
 * @property {string} message a sentence or two; empty if all is well
 */

/** @type {Health} */
export const HEALTHY = { level: "ok", name: "", message: "" };

/**
 * The words are without numbers that move, as each change would be read aloud again.
 *
 * @param {Pick<FleetFigures, "devices" | "online" | "instances">} figures
 * @returns {Health}
 */
export function healthOf({ devices, online, instances }) {
  // A store that is new is waiting for its first packet.
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
  if ((devices - online) / devices <= MANY_OFFLINE) return HEALTHY;
  const share = Math.round(MANY_OFFLINE * 100);
  return {
    level: "warning",
    name: "Many offline",
    message: `Many devices are offline: more than ${share} % of the fleet.`,
  };
}
