/**
 * Durations and sizes as users write them: a whole number and its unit, without a space. Each function returns
 * undefined for other text.
 *
 * @module
 */

const durationUnits = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
const sizeUnits = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };

/** `500ms`, `60s`, `5m` or `24h` in milliseconds. */
export function parseDuration(text: string): number | undefined {
  return parseQuantity(text, durationUnits);
}

/** `512B`, `64KiB`, `16MiB` or `1GiB` in bytes. */
export function parseSize(text: string): number | undefined {
  return parseQuantity(text, sizeUnits);
}

/** Decimal digits, without a sign. */
export function parseWholeNumber(text: string): number | undefined {
  return /^\d+$/.test(text) ? Number(text) : undefined;
}

function parseQuantity(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const [, digits, unit] = /^(\d+)([A-Za-z]+)$/.exec(text) ?? [];
  if (digits === undefined || unit === undefined || !Object.hasOwn(units, unit)) return undefined;
  return Number(digits) * units[unit]!;
}
