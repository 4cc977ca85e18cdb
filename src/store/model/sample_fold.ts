/**
 * Samples that wait in a store → the values of their devices.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import type { DecodePayload } from "../../payload/payload_decoder.ts";
import { SAMPLE_INTERVAL_MS, type ValueHistory } from "../values.ts";
import { HOUR_MS, MINUTE_MS, startOf } from "./periods.ts";
import { type BlockKind, hourBlocks, minuteBlocks, readPeriods, withPeriod } from "./value_blocks.ts";
import { addInPlace } from "./record_in_place.ts";
import { type ClosedPeriod, decodeRecord, type DeviceRecord, encodeRecord } from "./value_record.ts";

/** How payloads become values. */
export interface FoldOptions {
  /** Decodes payloads. */
  readonly decode: DecodePayload;
  /** Values, and attributes, of a device. */
  readonly maxNames: number;
}

/** What waits: the samples of one batch, or devices that do not exist. In columns, as the deltas of a batch are packed. */
export interface SampleEntry {
  /** "removed": the devices were removed, or refused: what waits of them before this entry is of no device. */
  readonly kind: "samples" | "removed";
  /** When the packets were received, Unix milliseconds. */
  readonly receivedAtMs: number;
  /** Each id in UTF-8, preceded by its length in one byte. */
  readonly ids: Buffer;
  /** Of samples: each payload, preceded by its length in 32 bits. */
  readonly payloads: Buffer;
  /** When each was received, as doubles, big-endian; empty: all at {@linkcode receivedAtMs}. */
  readonly seenMs: Buffer;
}

/** What waits of one device. */
interface Waiting {
  isRemoved: boolean;
  /** Of each sample: when it was received. */
  readonly timesMs: number[];
  /** Of each sample. */
  readonly payloads: Buffer[];
}

/** What becomes of a device. */
export interface FoldedDevice {
  /** See `DeviceDelta`. */
  readonly deviceId: string;
  /** What is kept of it from now on; undefined: it has no values, and nothing is kept. */
  readonly record: Uint8Array | undefined;
  /** Its minutes and hours that are over. */
  readonly closed: readonly ClosedPeriod[];
  /** It was removed: its histories begin anew. */
  readonly isRemoved: boolean;
  /** Names that its histories keep, where {@linkcode closed} has any. */
  readonly names: readonly string[];
  /** When its latest sample was received, Unix milliseconds. */
  readonly atMs: number;
}

/** Collects entries, oldest first; then folds them into the records of their devices. */
export class SampleFold {
  readonly #options: FoldOptions;
  readonly #devices = new Map<string, Waiting>();

  /** Nothing is collected yet. */
  constructor(options: FoldOptions) {
    this.#options = options;
  }

  /** Devices that were collected. */
  get deviceIds(): string[] {
    return [...this.#devices.keys()];
  }

  /** How many those are. */
  get size(): number {
    return this.#devices.size;
  }

  /** Adds an entry; returns how many devices it has. */
  add({ kind, receivedAtMs, ids, payloads, seenMs }: SampleEntry): number {
    let i = 0;
    for (let idAt = 0, payloadAt = 0; idAt < ids.length; i++) {
      const deviceId = ids.toString("utf8", idAt + 1, idAt += 1 + ids[idAt]!);
      let device = this.#devices.get(deviceId);
      if (device === undefined) {
        this.#devices.set(deviceId, device = { isRemoved: false, timesMs: [], payloads: [] });
      }
      if (kind === "removed") {
        device.isRemoved = true;
        device.timesMs.length = device.payloads.length = 0;
        continue;
      }
      const bytes = payloads.readUInt32BE(payloadAt);
      const payload = payloads.subarray(payloadAt + 4, payloadAt += 4 + bytes);
      addSample(device, seenMs.length === 0 ? receivedAtMs : seenMs.readDoubleBE(8 * i), payload);
    }
    return i;
  }

  /**
   * What becomes of some of the devices, in their order; `records`: what is kept of each, null if nothing is. They are
   * changed.
   */
  fold(deviceIds: readonly string[], records: readonly (Uint8Array | null)[]): FoldedDevice[] {
    const { decode, maxNames } = this.#options;
    return deviceIds.flatMap((deviceId, i) => {
      const { isRemoved, timesMs, payloads } = this.#devices.get(deviceId)!;
      const before = isRemoved ? null : records[i]!, closed: ClosedPeriod[] = [];
      let record: DeviceRecord | undefined, isChanged = false;
      for (const [n, payload] of payloads.entries()) {
        const sample = decode(payload), atMs = timesMs[n]!;
        // What cannot be decoded is a payload, and changes no value.
        if (sample === undefined) continue;
        isChanged = true;
        if (record === undefined && before !== null && addInPlace(before, sample, atMs)) continue;
        record ??= decodeRecord(before);
        record.add(sample, atMs, maxNames, (period) => closed.push(period));
      }
      if (!isChanged && !isRemoved) return [];
      const names = record?.values.map(({ name }) => name) ?? [], atMs = record?.atMs ?? 0;
      const changed = record && Buffer.from(encodeRecord(record));
      return [{
        ...{ deviceId, record: changed ?? (isChanged ? before! : undefined) },
        ...{ closed, isRemoved, names, atMs },
      }];
    });
  }
}

/** One of each interval, the latest. */
function addSample({ timesMs, payloads }: Waiting, atMs: number, payload: Buffer): void {
  const last = timesMs.length - 1;
  const isSame = last >= 0 &&
    startOf(SAMPLE_INTERVAL_MS, timesMs[last]!) === startOf(SAMPLE_INTERVAL_MS, atMs);
  timesMs[isSame ? last : last + 1] = atMs;
  payloads[isSame ? last : last + 1] = payload;
}

/** The two kinds of histories, by the length of their periods. */
const kinds: Readonly<Record<number, BlockKind>> = { [MINUTE_MS]: minuteBlocks, [HOUR_MS]: hourBlocks };

/**
 * A history of all values of a device, with the periods of that length that were closed; `history`: as it is kept, null
 * if there is none. Undefined: none was closed.
 */
export function historyWith(
  periodMs: number,
  history: Uint8Array | null,
  { closed, isRemoved, names, atMs }: FoldedDevice,
): Buffer | undefined {
  const periods = closed.filter((period) => period.periodMs === periodMs);
  if (periods.length === 0) return undefined;
  const kind = kinds[periodMs]!, before = isRemoved ? new Map<string, Uint8Array>() : splitHistory(history);
  const parts: Uint8Array[] = [];
  for (const name of names) {
    let blocks = before.get(name) ?? new Uint8Array(0);
    for (const period of periods) {
      if (period.name === name) blocks = withPeriod(kind, blocks, period.period, atMs);
    }
    if (blocks.length === 0) continue;
    const encoded = Buffer.from(name), head = Buffer.alloc(1 + encoded.length + 2);
    head[0] = encoded.length;
    head.set(encoded, 1);
    head.writeUInt16BE(blocks.length, 1 + encoded.length);
    parts.push(head, blocks);
  }
  return Buffer.concat(parts);
}

/** The blocks of each name. */
function splitHistory(history: Uint8Array | null): Map<string, Uint8Array> {
  const blocks = new Map<string, Uint8Array>();
  if (history === null) return blocks;
  const buffer = Buffer.from(history.buffer, history.byteOffset, history.length);
  for (let at = 0; at < buffer.length;) {
    const name = buffer.toString("utf8", at + 1, at += 1 + buffer[at]!);
    blocks.set(name, buffer.subarray(at + 2, at += 2 + buffer.readUInt16BE(at)));
  }
  return blocks;
}

/** What is kept of a device: null where there is nothing. */
export interface StoredValues {
  /** See {@linkcode encodeRecord}. */
  readonly record: Uint8Array | null;
  /** See {@linkcode historyWith}. */
  readonly minutes: Uint8Array | null;
  /** The same of hours. */
  readonly hours: Uint8Array | null;
}

/** One value of a device over time; undefined: it does not have the value. */
export function historyOf({ record, minutes, hours }: StoredValues, name: string): ValueHistory | undefined {
  const found = decodeRecord(record).values.find((value) => value.name === name);
  if (found === undefined) return undefined;
  const periods = (periodMs: number, history: Uint8Array | null) => {
    const blocks = splitHistory(history).get(name),
      running = periodMs === MINUTE_MS ? found.minute : found.hour;
    const closed = blocks === undefined ? [] : readPeriods(kinds[periodMs]!, blocks);
    if (running.samples === 0) return closed;
    const { min, mean, max } = running, startMs = startOf(periodMs, found.atMs);
    return [...closed.filter((period) => period.startMs < startMs), { startMs, min, mean, max }];
  };
  return { minutes: periods(MINUTE_MS, minutes), hours: periods(HOUR_MS, hours) };
}
