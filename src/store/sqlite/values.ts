/**
 * What devices measure, in a SQLite file: payloads wait in a table from the transaction on that counts their packets, and
 * are added to the values of their devices in another, as in Redis.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import { MAX_DECODED_BYTES } from "../../payload/payload_decoder.ts";
import { MAX_DEVICE_ID_BYTES } from "../../protocol/field_limits.ts";
import { historyOf, type StoredValues } from "../model/sample_fold.ts";
import { decodeRecord } from "../model/value_record.ts";
import type { DeviceDelta } from "../packets.ts";
import { type DeviceValues, FEED_MAX_BYTES, type ValueStore, WAITING_MAX_BYTES } from "../values.ts";
import type { Database } from "./database.ts";
import { unixNowMs } from "./migrations.ts";

/** What other parts of the store write of values, in the caller's transaction. */
export interface ValueTables {
  /** Samples of a batch wait. */
  append(devices: readonly DeviceDelta[], receivedAtMs: number): void;
  /** Devices are removed, and all that is kept of their values. */
  remove(deviceIds: readonly string[]): void;
  /** The values of these devices are others from now on. */
  feed(deviceIds: readonly string[]): void;
  /** So many bytes wait no more. */
  taken(bytes: number): void;
}

const queries = {
  append: "INSERT INTO waiting_samples (kind, received_ms, devices, ids, payloads) VALUES (?, ?, ?, ?, ?)",
  addBytes: "UPDATE sample_totals SET bytes = max(0, bytes + ?) RETURNING bytes",
  dropOldest: `
    DELETE FROM waiting_samples WHERE id = (SELECT min(id) FROM waiting_samples)
    RETURNING kind, devices, length(ids) + length(payloads) AS bytes`,
  addDropped: "UPDATE sample_totals SET dropped = dropped + ?",
  isAnyWaiting: "SELECT 1 FROM waiting_samples LIMIT 1",
  removeRecord: "DELETE FROM device_values WHERE device_id = ?",
  removeHistory: "DELETE FROM value_histories WHERE device_id = ?",
  // As of the list of changes: a file that was replaced by an older one never uses a serial twice.
  feed: `
    INSERT INTO value_feed
    SELECT max(coalesce(max(serial), 0) + 1, 1000 * ${unixNowMs}), ?,
      coalesce(max(end_bytes), 0) + length(?) + 32
    FROM value_feed
    RETURNING end_bytes AS endBytes`,
  trimFeed: "DELETE FROM value_feed WHERE end_bytes <= ?",
};

/** `isOn`: payloads are sampled. */
export function valueTables(database: Database, isOn: boolean): ValueTables {
  const statements = database.prepare(queries);

  const append = (
    kind: "samples" | "removed",
    atMs: number,
    devices: number,
    ids: Buffer,
    payloads: Buffer,
  ) => {
    statements.append.run(kind, atMs, devices, ids, payloads);
    let { bytes } = statements.addBytes.get(ids.length + payloads.length) as { bytes: number };
    while (bytes > WAITING_MAX_BYTES) {
      const oldest = statements.dropOldest.get() as { kind: string; devices: number; bytes: number };
      if (oldest.kind === "samples") statements.addDropped.run(oldest.devices);
      ({ bytes } = statements.addBytes.get(-oldest.bytes) as { bytes: number });
    }
  };

  const feed = (deviceIds: readonly string[]) => {
    const json = JSON.stringify(deviceIds);
    const { endBytes } = statements.feed.get(json, json) as { endBytes: number };
    statements.trimFeed.run(endBytes - FEED_MAX_BYTES);
  };

  return {
    append(devices, receivedAtMs) {
      const sampled = isOn ? devices.filter((delta) => payloadBytesOf(delta) <= MAX_DECODED_BYTES) : [];
      if (sampled.length === 0) return;
      append("samples", receivedAtMs, sampled.length, packIdsOf(sampled), packPayloads(sampled));
    },

    remove(deviceIds) {
      for (const deviceId of deviceIds) {
        statements.removeRecord.run(deviceId);
        statements.removeHistory.run(deviceId);
      }
      if (statements.isAnyWaiting.get() !== undefined) {
        append("removed", 0, deviceIds.length, packIds(deviceIds), Buffer.alloc(0));
      }
      feed(deviceIds);
    },

    feed,
    taken: (bytes) => void statements.addBytes.run(-bytes),
  };
}

function payloadBytesOf(delta: DeviceDelta): number {
  return delta.bytes?.payloadBytes ?? delta.payload.length;
}

/** Each preceded by its length in one byte. */
function packIds(deviceIds: readonly string[]): Buffer {
  return Buffer.concat(deviceIds.flatMap((deviceId) => {
    const id = Buffer.from(deviceId);
    return [Buffer.from([id.length]), id];
  }));
}

/** The same of deltas: of each a buffer of its own would take as long as counting its packets. */
function packIdsOf(devices: readonly DeviceDelta[]): Buffer {
  const packed = Buffer.allocUnsafe(devices.length * (1 + MAX_DEVICE_ID_BYTES));
  let at = 0;
  for (const delta of devices) {
    const { bytes } = delta, length = bytes?.idBytes ?? packed.write(delta.deviceId, at + 1);
    packed[at] = length;
    bytes?.writeId(packed, at + 1);
    at += 1 + length;
  }
  return packed.subarray(0, at);
}

/** Each preceded by its length in 32 bits. */
function packPayloads(devices: readonly DeviceDelta[]): Buffer {
  const packed = Buffer.allocUnsafe(devices.reduce((sum, delta) => sum + 4 + payloadBytesOf(delta), 0));
  let at = 0;
  for (const delta of devices) {
    const { bytes } = delta, length = payloadBytesOf(delta);
    packed.writeUInt32BE(length, at);
    if (bytes === undefined) packed.set(delta.payload, at + 4);
    else bytes.writePayload(packed, at + 4);
    at += 4 + length;
  }
  return packed;
}

const readQueries = {
  records: `
    SELECT device_id AS deviceId, record FROM device_values
    WHERE device_id IN (SELECT value FROM json_each(?))`,
  history: `
    SELECT record, minutes, hours FROM device_values LEFT JOIN value_histories USING (device_id)
    WHERE device_id = ?`,
  serial: "SELECT coalesce(max(serial), 0) AS serial FROM value_feed",
  // Serial 0 was before the first entry, which is the one whose end is its length.
  hasSerial: `
    SELECT 1 FROM value_feed WHERE serial = ?1
    UNION ALL SELECT 1 FROM value_feed WHERE ?1 = 0 AND end_bytes = length(device_ids) + 32`,
  since: "SELECT device_ids AS deviceIds FROM value_feed WHERE serial > ? ORDER BY serial",
  totals: "SELECT bytes, dropped FROM sample_totals",
};

/** Reads them. */
export function sqliteValues(database: Database): ValueStore {
  const statements = database.prepare(readQueries);
  return {
    latestValues: (deviceIds) =>
      database.read(`read the values of ${deviceIds.length} devices from`, () => {
        const rows = statements.records.all(JSON.stringify(deviceIds));
        return new Map<string, DeviceValues>(
          (rows as { deviceId: string; record: Uint8Array }[])
            .map(({ deviceId, record }) => [deviceId, decodeRecord(record).toValues()]),
        );
      }),

    valueHistory: (deviceId, name) =>
      database.read(`read a value of device ${deviceId} from`, () => {
        const row = statements.history.get(deviceId) as StoredValues | undefined;
        return row && historyOf(row, name);
      }),

    valueChanges: (since) =>
      // One snapshot: between two statements, entries could be trimmed that were not read.
      database.readSnapshot("read whose values changed from", () => {
        const { serial } = statements.serial.get() as { serial: number };
        const cursor = String(serial);
        if (since === cursor) return { cursor, deviceIds: [] };
        if (since === undefined || statements.hasSerial.get(Number(since)) === undefined) {
          return { cursor, deviceIds: "all" as const };
        }
        const entries = statements.since.all(Number(since)) as { deviceIds: string }[];
        const deviceIds = entries.flatMap(({ deviceIds }) => JSON.parse(deviceIds) as string[]);
        return { cursor, deviceIds: [...new Set(deviceIds)] };
      }),

    waitingSamples: () =>
      database.read("read how many samples wait from", () => {
        const { bytes, dropped } = statements.totals.get() as { bytes: number; dropped: number };
        return { bytes, dropped };
      }),
  };
}
