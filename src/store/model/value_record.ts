/**
 * A device's values as they are kept: the latest, the current minute and hour of each, and attributes; and how samples are
 * added to them.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import type { Sample } from "../../payload/sample.ts";
import type { DeviceValues, ValuePeriod } from "../values.ts";
import { HOUR_MS, MINUTE_MS, startOf } from "./periods.ts";

/** A name that was not sent for so long gives way to another, where there is no room. */
const NAME_EXPIRY_MS = HOUR_MS;

/** Samples of one period. */
export interface RunningPeriod {
  /** How many; 0: none, and the rest has no meaning. */
  samples: number;
  /** Least. */
  min: number;
  /** Mean. */
  mean: number;
  /** Greatest. */
  max: number;
}

/** One value of a device. */
export interface ValueRecord {
  /** As in the payload. */
  readonly name: string;
  /** The latest. */
  value: number;
  /** When it was received, Unix milliseconds: {@linkcode minute} and {@linkcode hour} are those of this time. */
  atMs: number;
  /** Its current minute. */
  readonly minute: RunningPeriod;
  /** Its current hour. */
  readonly hour: RunningPeriod;
}

/** A period of a value that is over. */
export interface ClosedPeriod {
  /** Of the value. */
  readonly name: string;
  /** A minute or an hour. */
  readonly periodMs: number;
  /** What is kept of it. */
  readonly period: ValuePeriod;
}

/** All of a device. */
export class DeviceRecord {
  /** When the latest packet with any of them was received, Unix milliseconds; 0: there was none. */
  atMs = 0;
  /** See {@linkcode DeviceValues}. */
  dropped = 0;
  /** In the order in which they were first found. */
  values: ValueRecord[] = [];
  /** Texts by name, likewise. */
  readonly attributes: Map<string, string> = new Map();

  /**
   * Adds what a packet had that was received at `atMs`. `maxNames`: values, and attributes, at most; `onClosed` receives
   * the periods that this ends.
   */
  add(sample: Sample, atMs: number, maxNames: number, onClosed: (closed: ClosedPeriod) => void): void {
    const { names, numbers, textNames, texts } = sample;
    let { dropped } = sample;
    for (let i = 0; i < names.length; i++) {
      const record = this.#valueOf(names[i]!, atMs, maxNames);
      if (record === undefined) dropped++;
      else addTo(record, numbers[i]!, atMs, onClosed);
    }
    for (let i = 0; i < texts.length; i++) {
      const name = textNames[i]!;
      if (this.attributes.size < maxNames || this.attributes.has(name)) this.attributes.set(name, texts[i]!);
      else dropped++;
    }
    this.atMs = Math.max(this.atMs, atMs);
    this.dropped = Math.min(dropped, MAX_DROPPED);
  }

  #valueOf(name: string, atMs: number, maxNames: number): ValueRecord | undefined {
    const { values } = this;
    for (const record of values) if (record.name === name) return record;
    if (values.length >= maxNames) {
      let oldest = values[0]!;
      for (const record of values) if (record.atMs < oldest.atMs) oldest = record;
      if (atMs - oldest.atMs < NAME_EXPIRY_MS) return undefined;
      values.splice(values.indexOf(oldest), 1);
    }
    const record = { name, value: 0, atMs, minute: newPeriod(), hour: newPeriod() };
    values.push(record);
    return record;
  }

  /** For readers. */
  toValues(): DeviceValues {
    return {
      atMs: this.atMs,
      values: this.values.map(({ name, value, atMs }) => ({ name, value, atMs })),
      attributes: Array.from(this.attributes, ([name, value]) => ({ name, value })),
      dropped: this.dropped,
    };
  }
}

/** Two bytes. */
export const MAX_DROPPED = 0xffff;

function newPeriod(): RunningPeriod {
  return { samples: 0, min: 0, mean: 0, max: 0 };
}

function addTo(
  record: ValueRecord,
  value: number,
  atMs: number,
  onClosed: (closed: ClosedPeriod) => void,
): void {
  close(record, record.minute, MINUTE_MS, atMs, onClosed);
  close(record, record.hour, HOUR_MS, atMs, onClosed);
  addToPeriod(record.minute, value);
  addToPeriod(record.hour, value);
  record.value = value;
  // A sample of another process may be a little older; one that is much older shows that the clock was set back.
  record.atMs = atMs < record.atMs - MINUTE_MS ? atMs : Math.max(record.atMs, atMs);
}

function close(
  { name, atMs: beforeMs }: ValueRecord,
  running: RunningPeriod,
  periodMs: number,
  atMs: number,
  onClosed: (closed: ClosedPeriod) => void,
): void {
  const isOver = startOf(periodMs, atMs) > startOf(periodMs, beforeMs);
  if (!isOver && atMs >= beforeMs - MINUTE_MS) return;
  const { samples, min, mean, max } = running;
  if (isOver && samples > 0) {
    onClosed({ name, periodMs, period: { startMs: startOf(periodMs, beforeMs), min, mean, max } });
  }
  running.samples = 0;
}

/** Adds one sample. */
export function addToPeriod(period: RunningPeriod, value: number): void {
  const samples = ++period.samples;
  period.min = samples === 1 ? value : Math.min(period.min, value);
  period.max = samples === 1 ? value : Math.max(period.max, value);
  // A sum, and a difference, of two numbers may be no finite number.
  const mean = samples === 1 ? value : period.mean + (value / samples - period.mean / samples);
  period.mean = Math.min(period.max, Math.max(period.min, mean));
}

/** The first byte of a record. */
export const VERSION = 1;

/** Of a record: version, time, dropped names, numbers of values and of attributes. */
export const HEAD_BYTES = 13;

/** Where a value has what, from the end of its name on; a period has the samples, and three numbers. */
export const valueOffsets = { value: 0, atMs: 8, minute: 16, hour: 16 + 28, end: 16 + 2 * 28 } as const;

const scratch = Buffer.alloc(64 * 1024), scratchView = new DataView(scratch.buffer, scratch.byteOffset);

/** The bytes of a record; valid until the next call. */
export function encodeRecord({ atMs, dropped, values, attributes }: DeviceRecord): Buffer {
  scratch[0] = VERSION;
  scratch.writeDoubleBE(atMs, 1);
  scratch.writeUInt16BE(dropped, 9);
  scratch[11] = values.length;
  scratch[12] = attributes.size;
  let at = HEAD_BYTES;
  for (const { name, value, atMs, minute, hour } of values) {
    at = writeText(name, at);
    scratchView.setFloat64(at + valueOffsets.value, value);
    scratchView.setFloat64(at + valueOffsets.atMs, atMs);
    writePeriod(scratchView, at + valueOffsets.minute, minute);
    writePeriod(scratchView, at + valueOffsets.hour, hour);
    at += valueOffsets.end;
  }
  for (const [name, text] of attributes) at = writeText(text, writeText(name, at));
  return scratch.subarray(0, at);
}

function writeText(text: string, at: number): number {
  const bytes = scratch.write(text, at + 1);
  scratch[at] = bytes;
  return at + 1 + bytes;
}

/** Writes a period where {@linkcode readPeriod} reads it. */
export function writePeriod(view: DataView, at: number, { samples, min, mean, max }: RunningPeriod): void {
  view.setUint32(at, Math.min(samples, 0xffff_ffff));
  view.setFloat64(at + 4, min);
  view.setFloat64(at + 12, mean);
  view.setFloat64(at + 20, max);
}

/** The record in the bytes, which {@linkcode encodeRecord} wrote; null: an empty one. */
export function decodeRecord(bytes: Uint8Array | null): DeviceRecord {
  const record = new DeviceRecord();
  if (bytes === null || bytes[0] !== VERSION) return record;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  record.atMs = buffer.readDoubleBE(1);
  record.dropped = buffer.readUInt16BE(9);
  let at = HEAD_BYTES;
  for (let i = 0; i < bytes[11]!; i++) {
    const name = readText(buffer, at), end = at + 1 + buffer[at]!;
    record.values.push({
      name,
      value: view.getFloat64(end + valueOffsets.value),
      atMs: view.getFloat64(end + valueOffsets.atMs),
      minute: readPeriod(view, end + valueOffsets.minute),
      hour: readPeriod(view, end + valueOffsets.hour),
    });
    at = end + valueOffsets.end;
  }
  for (let i = 0; i < bytes[12]!; i++) {
    const name = readText(buffer, at);
    at += 1 + buffer[at]!;
    record.attributes.set(name, readText(buffer, at));
    at += 1 + buffer[at]!;
  }
  return record;
}

function readText(buffer: Buffer, at: number): string {
  return buffer.toString("utf8", at + 1, at + 1 + buffer[at]!);
}

/** The period at `at`. */
export function readPeriod(view: DataView, at: number): RunningPeriod {
  return {
    samples: view.getUint32(at),
    min: view.getFloat64(at + 4),
    mean: view.getFloat64(at + 12),
    max: view.getFloat64(at + 20),
  };
}
