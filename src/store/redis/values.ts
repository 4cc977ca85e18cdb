/**
 * What devices measure, in Redis.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import { historyOf } from "../model/sample_fold.ts";
import { decodeRecord } from "../model/value_record.ts";
import type { DeviceValues, ValueStore } from "../values.ts";
import type { RedisClient } from "./redis_client.ts";
import { packIds } from "./sample_columns.ts";
import type { SampleFolder } from "./sample_folder.ts";
import { deviceScript, valueChangesScript, valuesScript } from "./scripts.ts";

/** A reader that finds samples waiting has them folded: there may be no ingest that does it. */
export function redisValues(client: RedisClient, folder: SampleFolder): ValueStore {
  const { keys } = client;
  const names = [keys.samples, keys.sampleState, keys.valueFeed];
  const read = async (since: readonly string[]) => {
    const found = await client.read("read whose values changed", valueChangesScript, names, since);
    const [serial, bytes, dropped, ids] = found as [Buffer, Buffer, Buffer, Buffer[]?];
    return { cursor: serial.toString(), bytes: Number(bytes), dropped: Number(dropped), ids };
  };

  return {
    async latestValues(deviceIds) {
      if (deviceIds.length === 0) return new Map();
      const attempt = `read the values of ${deviceIds.length} devices`;
      const args = [deviceIds.length, packIds(deviceIds)];
      const found = await client.read(attempt, valuesScript, [keys.values], args) as (Buffer | null)[];
      const values = new Map<string, DeviceValues>();
      for (const [i, record] of found.entries()) {
        if (record !== null) values.set(deviceIds[i]!, decodeRecord(record).toValues());
      }
      return values;
    },

    async valueHistory(deviceId, name) {
      const attempt = `read a value of device ${deviceId}`;
      const hashes = [keys.values, keys.valueMinutes, keys.valueHours];
      const found = await client.read(attempt, deviceScript, hashes, [deviceId]);
      const [record, minutes, hours] = found as (Buffer | null)[];
      return historyOf({ record: record!, minutes: minutes!, hours: hours! }, name);
    },

    async valueChanges(since) {
      const { cursor, bytes, ids } = await read(since === undefined ? [] : [since]);
      if (bytes > 0) folder.start();
      return { cursor, deviceIds: ids === undefined ? "all" : [...new Set(ids.flatMap(readIds))] };
    },

    async waitingSamples() {
      const { bytes, dropped } = await read([]);
      return { bytes, dropped };
    },
  };
}

/** Ids, each preceded by its length in one byte. */
function readIds(packed: Buffer): string[] {
  const ids: string[] = [];
  for (let at = 0; at < packed.length;) ids.push(packed.toString("utf8", at + 1, at += 1 + packed[at]!));
  return ids;
}
