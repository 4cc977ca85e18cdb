/**
 * Samples in Redis, on their way to the values of their devices.
 *
 * To decode a payload and to add up a minute takes far longer than to store the payload, so the scripts that count a
 * batch append its payloads as one value to a list, in the same atomic step and without looking into them: 0.1 µs a
 * device. Once a second a process reads the oldest of them, adds them to what is kept of their devices, and writes that
 * and removes them from the list in one atomic step. The step does nothing if another process has folded them, if the
 * list has dropped them, or if a device was removed meanwhile: the serial shows it. A lease only keeps processes
 * from doing the same work.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import type { Logger } from "@logtape/logtape";

import { MAX_DEVICE_ID_BYTES } from "../../protocol/field_limits.ts";
import { nextTurn } from "../../runtime/next_turn.ts";
import { HOUR_MS, MINUTE_MS } from "../model/periods.ts";
import {
  type FoldedDevice,
  type FoldOptions,
  historyWith,
  type SampleEntry,
  SampleFold,
} from "../model/sample_fold.ts";
import { StoreError } from "../store_error.ts";
import type { RedisClient } from "./redis_client.ts";
import { packIds } from "./sample_columns.ts";
import { foldScript, takeSamplesScript, valuesScript } from "./scripts.ts";

/** Devices whose records are read and changed in one turn of the event loop: some 1 ms. */
const PART_DEVICES = 500;

/** Devices whose minutes or hours are closed in one turn: some 2 ms with two values. */
const HISTORIES_PER_TURN = 100;

/** Entries are folded together until they have so many devices. */
const FOLD_DEVICES = 2000;

/** Samples that are collected in one turn of the event loop, which batches of an ingest wait for: some 2 ms. */
const SAMPLES_PER_TURN = 4000;

/** Bytes of samples that are read at once, but for one entry. */
const TAKE_BYTES = 4 * 2 ** 20;

/** A process that has ended is replaced after so long. */
const LEASE_MS = 5000;

/** How long a process that ends goes on. */
const CLOSE_MS = 1000;

/** What a fold writes. */
interface Written {
  readonly changed: string[];
  readonly removed: string[];
  readonly records: Pair[];
  readonly minutes: Pair[];
  readonly hours: Pair[];
}

/** A device, and what is kept of it. */
type Pair = readonly [deviceId: string, value: Uint8Array];

/** Folds what waits in one shard. */
export class SampleFolder {
  readonly #client: RedisClient;
  readonly #options: FoldOptions;
  readonly #log: Logger;
  readonly #owner = crypto.randomUUID();
  #folding: Promise<void> | undefined;
  #endsAtMs = Infinity;

  /** Does nothing yet. */
  constructor(client: RedisClient, options: FoldOptions, log: Logger) {
    this.#client = client;
    this.#options = options;
    this.#log = log;
  }

  /** Begins to fold all that waits, unless that is in progress. */
  start(): void {
    this.#folding ??= this.#foldAll().finally(() => this.#folding = undefined);
  }

  /** Resolves when all is folded that waited at the call, or another process does it. */
  async fold(): Promise<void> {
    await this.#folding;
    this.start();
    await this.#folding;
  }

  /** Folds what is left, for a moment at most: other processes may go on. */
  async close(): Promise<void> {
    this.#endsAtMs = performance.now() + CLOSE_MS;
    await this.fold();
  }

  async #foldAll(): Promise<void> {
    try {
      while (performance.now() < this.#endsAtMs && await this.#foldSome());
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      this.#log.debug("samples wait: {error}", { error });
    }
  }

  /** False: nothing waits, or another process folds. */
  async #foldSome(): Promise<boolean> {
    const { keys } = this.#client;
    const names = [keys.samples, keys.sampleState, keys.valueFeed, keys.sampleOwner];
    const args = [this.#owner, LEASE_MS, TAKE_BYTES];
    const reply = await this.#client.write("read samples", takeSamplesScript, names, args);
    const [first, elements = []] = reply as [Buffer?, Buffer[]?];
    for (let serial = first, read = 0; read < elements.length && serial !== undefined;) {
      if (performance.now() >= this.#endsAtMs) return false;
      const fold = new SampleFold(this.#options), from = read;
      let bytes = 0, samplesOfTurn = 0;
      do {
        if (samplesOfTurn >= SAMPLES_PER_TURN) {
          await nextTurn();
          samplesOfTurn = 0;
        }
        const [head, ids, payloads, seenMs] = elements.slice(read, read += 4) as [
          Buffer,
          Buffer,
          Buffer,
          Buffer,
        ];
        samplesOfTurn += fold.add(entryOf(head, ids, payloads, seenMs));
        bytes += ids.length + payloads.length + seenMs.length;
      } while (read < elements.length && fold.size < FOLD_DEVICES);
      serial = await this.#write(serial, read - from, bytes, await this.#fold(fold));
    }
    return elements.length > 0;
  }

  async #fold(fold: SampleFold): Promise<Written> {
    const written: Written = { changed: [], removed: [], records: [], minutes: [], hours: [] };
    const { deviceIds } = fold;
    for (let start = 0; start < deviceIds.length; start += PART_DEVICES) {
      const ids = deviceIds.slice(start, start + PART_DEVICES);
      const devices = fold.fold(ids, await this.#read(this.#client.keys.values, ids));
      for (const { deviceId, record } of devices) {
        written.changed.push(deviceId);
        if (record === undefined) written.removed.push(deviceId);
        else written.records.push([deviceId, record]);
      }
      await this.#addHistories(devices, MINUTE_MS, this.#client.keys.valueMinutes, written.minutes);
      await this.#addHistories(devices, HOUR_MS, this.#client.keys.valueHours, written.hours);
    }
    return written;
  }

  async #addHistories(
    devices: readonly FoldedDevice[],
    periodMs: number,
    key: string,
    written: Pair[],
  ): Promise<void> {
    const closing = devices.filter(({ closed }) => closed.some((period) => period.periodMs === periodMs));
    if (closing.length === 0) return;
    const histories = await this.#read(key, closing.map(({ deviceId }) => deviceId));
    for (const [i, device] of closing.entries()) {
      if (i > 0 && i % HISTORIES_PER_TURN === 0) await nextTurn();
      const history = historyWith(periodMs, histories[i]!, device);
      if (history !== undefined) written.push([device.deviceId, history]);
    }
  }

  async #read(key: string, deviceIds: readonly string[]): Promise<(Buffer | null)[]> {
    const attempt = `read the values of ${deviceIds.length} devices`;
    const args = [deviceIds.length, packIds(deviceIds)];
    return await this.#client.read(attempt, valuesScript, [key], args) as (Buffer | null)[];
  }

  /** Resolves to the serial from now on, or undefined if nothing was written. */
  async #write(
    serial: Buffer,
    elements: number,
    bytes: number,
    written: Written,
  ): Promise<Buffer | undefined> {
    const { keys } = this.#client, { changed, removed, records, minutes, hours } = written;
    const names = [
      ...[keys.samples, keys.sampleState, keys.valueFeed],
      ...[keys.values, keys.valueMinutes, keys.valueHours, keys.nothing],
    ];
    const after = await this.#client.write("write values", foldScript, names, [
      ...[serial, elements, bytes, packIds(changed), removed.length, packIds(removed)],
      ...[records, minutes, hours].flatMap((pairs) => [pairs.length, packPairs(pairs)]),
    ]) as Buffer;
    return after.length === 0 ? undefined : after;
  }
}

/** Ids and values, each preceded by its length: in one byte, and in 32 bits. */
function packPairs(pairs: readonly Pair[]): Buffer {
  const bytes = pairs.reduce((sum, [, { length }]) => sum + 5 + MAX_DEVICE_ID_BYTES + length, 0);
  const packed = Buffer.allocUnsafe(bytes);
  let at = 0;
  for (const [deviceId, value] of pairs) {
    const length = packed.write(deviceId, at + 1);
    packed[at] = length;
    at += 1 + length;
    packed.writeUInt32BE(value.length, at);
    packed.set(value, at + 4);
    at += 4 + value.length;
  }
  return packed.subarray(0, at);
}

function entryOf(head: Buffer, ids: Buffer, payloads: Buffer, seenMs: Buffer): SampleEntry {
  const [kind, receivedAt] = head.toString().split(" ") as [string, string];
  return {
    kind: kind === "s" ? "samples" : "removed",
    receivedAtMs: Number(receivedAt),
    ...{ ids, payloads, seenMs },
  };
}
