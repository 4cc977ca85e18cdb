/**
 * Objects → samples: what `JSON.parse` and protobufjs return.
 *
 * @module
 */
import { BARE_NAME, MAX_DEPTH, MAX_ITEMS, nested, type Sample } from "./sample.ts";

/** Adds what `value` has; `value` is a tree of plain objects, arrays, numbers, booleans and strings. */
export function addObject(sample: Sample, value: unknown): void {
  if (typeof value === "number") sample.number(BARE_NAME, value);
  else if (typeof value === "object" && value !== null) addFields(sample, value, "", 1);
}

function addFields(sample: Sample, fields: object, prefix: string, depth: number): void {
  if (Array.isArray(fields)) {
    const end = Math.min(fields.length, MAX_ITEMS);
    for (let i = 0; i < end; i++) addField(sample, nested(prefix, String(i)), fields[i], depth);
    return;
  }
  // Own keys only: `__proto__` is a key as any other.
  for (const key of Object.keys(fields)) {
    addField(sample, nested(prefix, key), (fields as Record<string, unknown>)[key], depth);
  }
}

function addField(sample: Sample, name: string, value: unknown, depth: number): void {
  if (typeof value === "number") sample.number(name, value);
  else if (typeof value === "boolean") sample.number(name, value ? 1 : 0);
  else if (typeof value === "string") sample.text(name, value.toWellFormed());
  else if (typeof value === "object" && value !== null && depth < MAX_DEPTH) {
    addFields(sample, value, name, depth + 1);
  }
}
