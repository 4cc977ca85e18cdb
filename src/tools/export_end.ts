/**
 * The last line of an export, which shows that it is whole: taken off, as it is no row.
 *
 * @module
 */

/** What the last line has. */
export interface ExportEnd {
  /** Rows before it. */
  readonly rows: number;
  /** Devices that they are of. */
  readonly devices: number;
}

/** No last line is longer. */
const MAX_END_BYTES = 200;

/** The same bytes without the last line; `onEnd` receives what it has, unless it is missing. */
export async function* splitEnd(
  body: AsyncIterable<Uint8Array>,
  format: "csv" | "ndjson",
  onEnd: (end: ExportEnd) => void,
): AsyncGenerator<Uint8Array> {
  let held = new Uint8Array(0);
  for await (const part of body) {
    const joined = new Uint8Array(held.length + part.length);
    joined.set(held);
    joined.set(part, held.length);
    const passed = Math.max(0, joined.length - MAX_END_BYTES);
    held = joined.subarray(passed);
    if (passed > 0) yield joined.subarray(0, passed);
  }
  // The line before it ends with a newline, unless there is none.
  const start = held.lastIndexOf(10, held.length - 2) + 1;
  const end = readEnd(new TextDecoder().decode(held.subarray(start)), format);
  if (end !== undefined) onEnd(end);
  const rest = end === undefined ? held : held.subarray(0, start);
  if (rest.length > 0) yield rest;
}

function readEnd(line: string, format: "csv" | "ndjson"): ExportEnd | undefined {
  const pattern = format === "csv"
    ? /^# end: (\d+) rows, (\d+) devices\n$/
    : /^\{"end":true,"rows":(\d+),"devices":(\d+)\}\n$/;
  const found = pattern.exec(line);
  return found === null ? undefined : { rows: Number(found[1]), devices: Number(found[2]) };
}
