/**
 * What charts draw of their points, as paths of SVG.
 *
 * @module
 */
// @ts-check
import { round } from "./chart_scale.js";

/**
 * @typedef {object} Spot a point in a chart
 * @property {number} at Unix milliseconds
 * @property {number} x pixels, as are the others
 * @property {number} y
 * @property {number} low end of its band
 * @property {number} high
 */

/**
 * @param {readonly Spot[]} spots
 * @param {number} maxGapMs between points that are connected
 * @returns {string}
 */
export function linePath(spots, maxGapMs) {
  // A line without length is a dot, of a point that stands alone.
  return runs(spots, maxGapMs)
    .map((run) => `M${run.map(({ x, y }) => `${x} ${y}`).join("L")}${run.length === 1 ? "h0" : ""}`)
    .join("");
}

/**
 * @param {readonly Spot[]} spots
 * @param {number} floor y of zero
 * @returns {string} between the line and the floor
 */
export function areaPath(spots, floor) {
  return `M${spots.map(({ x, y }) => `${x} ${y}`).join("L")}L${spots.at(-1)?.x} ${floor}L${
    spots[0]?.x
  } ${floor}Z`;
}

/**
 * @param {readonly Spot[]} spots
 * @param {number} maxGapMs
 * @returns {string} between the low ends and the high ones
 */
export function bandPath(spots, maxGapMs) {
  return runs(spots, maxGapMs).map((run) => {
    const there = run.map(({ x, high }) => `${x} ${high}`);
    const back = run.map(({ x, low }) => `${x} ${low}`).reverse();
    return `M${[...there, ...back].join("L")}Z`;
  }).join("");
}

/**
 * @param {readonly Spot[]} spots
 * @param {number} width
 * @param {number} floor y of zero
 * @returns {string}
 */
export function barsPath(spots, width, floor) {
  return spots.map(({ x, y }) =>
    y < floor ? `M${round(x - width / 2)} ${y}h${round(width)}v${round(floor - y)}h${round(-width)}z` : ""
  ).join("");
}

/**
 * @param {readonly Spot[]} spots
 * @param {number} maxGapMs
 * @returns {Spot[][]} parts without a gap
 */
function runs(spots, maxGapMs) {
  /** @type {Spot[][]} */
  const parts = [];
  let before = -Infinity;
  for (const spot of spots) {
    if (spot.at - before > maxGapMs) parts.push([]);
    parts.at(-1)?.push(spot);
    before = spot.at;
  }
  return parts;
}
