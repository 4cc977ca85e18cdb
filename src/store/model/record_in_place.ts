/**
 * A sample added to the bytes of a record where they are: most samples have the names of the one before, and are of the
 * same minute, so that only numbers change. A device with two values takes 2 µs in a fold, and 4.7 where its record is
 * decoded and encoded.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import type { Sample } from "../../payload/sample.ts";
import { MINUTE_MS, startOf } from "./periods.ts";
import {
  addToPeriod,
  HEAD_BYTES,
  MAX_DROPPED,
  readPeriod,
  valueOffsets,
  VERSION,
  writePeriod,
} from "./value_record.ts";

/**
 * Adds `sample`, which was received at `atMs`, to what `encodeRecord` wrote, as `DeviceRecord.add` does. False: it has
 * other names or texts than the record, or ends a period, and nothing was changed.
 */
export function addInPlace(record: Uint8Array, sample: Sample, atMs: number): boolean {
  const bytes = Buffer.from(record.buffer, record.byteOffset, record.length);
  const view = new DataView(record.buffer, record.byteOffset, record.length);
  if (!fits(bytes, view, sample, startOf(MINUTE_MS, atMs))) return false;
  view.setFloat64(1, Math.max(view.getFloat64(1), atMs));
  view.setUint16(9, Math.min(sample.dropped, MAX_DROPPED));
  let at = HEAD_BYTES;
  for (const number of sample.numbers) {
    const end = at + 1 + bytes[at]!;
    view.setFloat64(end + valueOffsets.value, number);
    view.setFloat64(end + valueOffsets.atMs, Math.max(view.getFloat64(end + valueOffsets.atMs), atMs));
    for (const periodAt of [end + valueOffsets.minute, end + valueOffsets.hour]) {
      const period = readPeriod(view, periodAt);
      addToPeriod(period, number);
      writePeriod(view, periodAt, period);
    }
    at = end + valueOffsets.end;
  }
  return true;
}

/** Whether the record has the sample's names and texts in its order, and each value is of this minute. */
function fits(bytes: Buffer, view: DataView, sample: Sample, minuteMs: number): boolean {
  const { names, textNames, texts } = sample;
  if (bytes[0] !== VERSION || bytes[11] !== names.length || bytes[12] !== texts.length) return false;
  let at = HEAD_BYTES;
  for (const name of names) {
    if (!hasText(bytes, at, name)) return false;
    at += 1 + bytes[at]!;
    if (startOf(MINUTE_MS, view.getFloat64(at + valueOffsets.atMs)) !== minuteMs) return false;
    at += valueOffsets.end;
  }
  for (let i = 0; i < texts.length; i++) {
    if (!hasText(bytes, at, textNames[i]!)) return false;
    at += 1 + bytes[at]!;
    if (!hasText(bytes, at, texts[i]!)) return false;
    at += 1 + bytes[at]!;
  }
  return true;
}

/** Whether `text`, preceded by its length, is there. */
function hasText(bytes: Buffer, at: number, text: string): boolean {
  const length = bytes[at]!;
  if (length < text.length) return false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 127) return bytes.toString("utf8", at + 1, at + 1 + length) === text;
    if (bytes[at + 1 + i] !== code) return false;
  }
  return length === text.length;
}
