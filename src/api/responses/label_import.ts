/**
 * Names, tags and notes of many devices, as CSV or JSON.
 *
 * @module
 */

import { RequestError } from "../../protocol/request_error.ts";
import { nextTurn } from "../../runtime/next_turn.ts";
import { isTagKey, type LabelChange } from "../../store/labels.ts";
import { parameterError } from "../http/parameter_error.ts";
import { expected, ImportedDevice } from "../schemas/labels.ts";
import { readCsv } from "./csv.ts";

/** Rows that are checked before other requests get their turn, some milliseconds of work. */
const ROWS_PER_TURN = 1_000;

/** Bytes of a body: 100,000 devices with some tags each. */
export const MAX_IMPORT_BYTES = 8 * 2 ** 20;

/** A device as a row of the import has it, before it is checked. */
interface Row {
  /** How errors name it. */
  readonly place: string;
  readonly device: unknown;
}

/** What an import is to change; throws {@linkcode RequestError} at the first row that cannot be used. */
export async function readImport(text: string, isCsv: boolean): Promise<readonly LabelChange[]> {
  const changes = new Map<string, LabelChange>();
  for (const { place, device } of isCsv ? csvRows(text) : jsonRows(text)) {
    const parsed = ImportedDevice.safeParse(device);
    if (!parsed.success) {
      const { message } = parameterError(device, parsed.error.issues);
      throw new RequestError("INVALID_ARGUMENT", `Cannot import ${place}: ${message}`);
    }
    const { device_id: deviceId, ...labels } = parsed.data;
    if (changes.has(deviceId) || !deviceId.isWellFormed()) {
      const found = changes.has(deviceId) ? "a device that an earlier one has" : "an id that is no UTF-8";
      throw new RequestError("INVALID_ARGUMENT", `Cannot import ${place}: found ${found}`);
    }
    changes.set(deviceId, { deviceId, ...labels });
    if (changes.size % ROWS_PER_TURN === 0) await nextTurn();
  }
  return [...changes.values()];
}

function* jsonRows(text: string): Generator<Row> {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    throw new RequestError("INVALID_ARGUMENT", "Cannot use the body: found no valid JSON");
  }
  const devices = (body as { devices?: unknown } | null)?.devices;
  if (!Array.isArray(devices)) {
    throw new RequestError("INVALID_ARGUMENT", 'Cannot use the body: expected {"devices":[{"device_id":…}]}');
  }
  for (const [i, device] of devices.entries()) yield { place: `devices[${i}]`, device };
}

/** An empty cell changes nothing. */
function* csvRows(text: string): Generator<Row> {
  const rows = readCsv(text), first = rows.next();
  const columns = first.done ? [] : first.value.fields.map((column) => column.trim());
  checkColumns(columns);
  for (const { line, fields } of rows) {
    if (fields.length > columns.length) {
      const found = `${fields.length} fields; expected ${columns.length}, as the first line has`;
      throw new RequestError("INVALID_ARGUMENT", `Cannot import line ${line}: found ${found}`);
    }
    const device: Record<string, unknown> = {}, tags: [string, string][] = [];
    for (const [i, value] of fields.entries()) {
      const column = columns[i]!;
      if (value === "") continue;
      if (isOwn(column)) device[column] = value;
      else tags.push([column, value]);
    }
    yield { place: `line ${line}`, device: { ...device, tags: Object.fromEntries(tags) } };
  }
}

function isOwn(column: string): boolean {
  return ["device_id", "name", "notes"].includes(column);
}

function checkColumns(columns: readonly string[]): void {
  const problem = !columns.includes("device_id")
    ? "expected a column device_id in the first line"
    : new Set(columns).size < columns.length
    ? "found two columns of one name in the first line"
    : undefined;
  if (problem !== undefined) throw new RequestError("INVALID_ARGUMENT", `Cannot use the CSV: ${problem}`);
  const bad = columns.find((column) => !isOwn(column) && !isTagKey(column));
  if (bad === undefined) return;
  throw new RequestError(
    "INVALID_ARGUMENT",
    `Cannot use the CSV: found the column ${
      JSON.stringify(bad.slice(0, 80))
    }; expected device_id, name, notes, and ` +
      `keys of tags: ${expected.key}`,
  );
}
