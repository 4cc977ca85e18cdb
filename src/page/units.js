/**
 * Units of values, by the ends of their names, and their numbers as text.
 *
 * @module
 */
// @ts-check

/** By what follows the last underscore of a name. @type {ReadonlyMap<string, string>} */
const UNITS = new Map([
  ["a", "A"],
  ["b", "B"],
  ["bar", "bar"],
  ["bytes", "B"],
  ["c", "°C"],
  ["cm", "cm"],
  ["db", "dB"],
  ["dbm", "dBm"],
  ["deg", "°"],
  ["f", "°F"],
  ["g", "g"],
  ["h", "h"],
  ["hpa", "hPa"],
  ["hz", "Hz"],
  ["k", "K"],
  ["kb", "kB"],
  ["kg", "kg"],
  ["km", "km"],
  ["kmh", "km/h"],
  ["kpa", "kPa"],
  ["kw", "kW"],
  ["kwh", "kWh"],
  ["l", "l"],
  ["lux", "lx"],
  ["lx", "lx"],
  ["m", "m"],
  ["ma", "mA"],
  ["mah", "mAh"],
  ["mb", "MB"],
  ["mbar", "mbar"],
  ["min", "min"],
  ["mm", "mm"],
  ["mps", "m/s"],
  ["ms", "ms"],
  ["mv", "mV"],
  ["mw", "mW"],
  ["pa", "Pa"],
  ["pct", "%"],
  ["percent", "%"],
  ["ppb", "ppb"],
  ["ppm", "ppm"],
  ["rpm", "rpm"],
  ["s", "s"],
  ["us", "µs"],
  ["v", "V"],
  ["va", "VA"],
  ["w", "W"],
  ["wh", "Wh"],
]);

const sixDigits = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });
const threeDigits = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const twoDecimals = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const powers = new Intl.NumberFormat("en", { notation: "scientific", maximumSignificantDigits: 4 });

/**
 * @param {string} name of a value
 * @param {Readonly<Record<string, string>>} [tags] of its device: `unit.<name>` overrides the name's end
 * @returns {string} empty when none is known
 */
export function unitOf(name, tags) {
  const key = `unit.${name}`;
  if (tags !== undefined && Object.hasOwn(tags, key)) return String(tags[key]);
  const end = /_([a-z]+)$/.exec(name)?.[1];
  return end === undefined ? "" : UNITS.get(end) ?? "";
}

/**
 * @param {number} value any double
 * @param {string} [unit]
 * @returns {string} as in 21.5 °C, 1.5E9
 */
export function formatValue(value, unit = "") {
  return withUnit(isExtreme(value) ? powers.format(value) : sixDigits.format(value), unit);
}

/**
 * Means have more digits than what was measured.
 *
 * @param {number} value any double
 * @param {string} [unit]
 * @returns {string} with two decimals, or three digits when it is below one
 */
export function formatMean(value, unit = "") {
  const format = isExtreme(value) ? powers : Math.abs(value) < 1 ? threeDigits : twoDecimals;
  return withUnit(format.format(value), unit);
}

/** @param {number} value */
function isExtreme(value) {
  const size = Math.abs(value);
  return size !== 0 && (size >= 1e9 || size < 1e-4);
}

/**
 * @param {string} text
 * @param {string} unit
 */
function withUnit(text, unit) {
  return unit === "" || unit === "°" ? text + unit : `${text} ${unit}`;
}
