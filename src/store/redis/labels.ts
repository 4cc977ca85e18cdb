/**
 * Labels of devices in Redis.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import type { DeviceSummary } from "../devices.ts";
import { type LabelChange, type LabelPage, type LabelStore, MAX_UNSEEN_LABELLED } from "../labels.ts";
import { changedLabels, decodeLabels, noLabelsText } from "../model/labels.ts";
import { StoreError } from "../store_error.ts";
import { readChanges } from "./records.ts";
import type { RedisClient } from "./redis_client.ts";
import { changesScript, labelsScript, notesScript, scanLabelsScript, setLabelsScript } from "./scripts.ts";

/** Devices per HSCAN. */
const SCAN_COUNT = 1_000;

/** Attempts to change labels that other processes change at the same time. */
const MAX_ATTEMPTS = 20;

/** A hash for names and tags, which the api holds in memory, and one for notes, which it does not. */
export function redisLabels(client: RedisClient): LabelStore {
  const names = client.keys;
  const read = async (attempt: string, deviceIds: readonly string[]) =>
    await client.read(attempt, labelsScript, [names.labels], deviceIds) as (Buffer | null)[];

  return {
    async setLabels(changes) {
      if (changes.length === 0) return undefined;
      const attempt = `change the labels of ${changes.length} devices`;
      const keys = [
        ...[names.labels, names.notes, names.labelsVersion, names.labelChanges, names.counts],
        names.nothing,
      ];
      for (let attempts = 0; attempts < MAX_ATTEMPTS; attempts++) {
        const before = await read(attempt, changes.map(({ deviceId }) => deviceId));
        const args: (string | number)[] = [MAX_UNSEEN_LABELLED, noLabelsText];
        for (const [i, change] of changes.entries()) {
          const was = before[i]?.toString();
          const becomes = changedLabels(was, change);
          if (becomes === undefined) return { deviceId: change.deviceId, limit: "tags" };
          args.push(change.deviceId, was ?? "", becomes, noteArgument(change));
        }
        const result = await client.write(attempt, setLabelsScript, keys, args);
        if (result === null) return undefined;
        if (Array.isArray(result)) return { deviceId: String(result[0]), limit: "unseen" };
      }
      throw new StoreError(`could not ${attempt}: they were changed by others at the same time; try again`);
    },

    async labels(deviceIds) {
      if (deviceIds.length === 0) return new Map();
      const found = await read(`read the labels of ${deviceIds.length} devices`, deviceIds);
      return new Map(deviceIds.flatMap((deviceId, i) => {
        const text = found[i];
        return text ? [[deviceId, decodeLabels(text.toString())]] : [];
      }));
    },

    async notes(deviceId) {
      const attempt = `read the notes about device ${deviceId}`;
      return String(await client.read(attempt, notesScript, [names.notes], [deviceId]) ?? "");
    },

    scanLabels: () => scan(client),

    async labelChanges(since) {
      const keys = [names.labelsVersion, names.labelChanges];
      const args = since === undefined ? [] : [since];
      const found = await client.read("read which labels changed", changesScript, keys, args);
      const [version, entries] = found as [Buffer, Buffer[]?];
      const devices = new Map<string, DeviceSummary | undefined>();
      for (const entry of entries ?? []) readChanges(entry, devices);
      return { version: Number(version), devices: entries === undefined ? "all" : devices };
    },
  };
}

function noteArgument({ notes }: LabelChange): string {
  return notes === undefined ? "" : `=${notes}`;
}

async function* scan(client: RedisClient): AsyncGenerator<LabelPage> {
  let cursor = "0";
  do {
    const args = [cursor, SCAN_COUNT];
    const found = await client.read("read all labels", scanLabelsScript, [client.keys.labels], args);
    const [next, fields] = found as [Buffer, Buffer[]];
    const page: [string, ReturnType<typeof decodeLabels>][] = [];
    for (let i = 0; i < fields.length; i += 2) {
      page.push([fields[i]!.toString(), decodeLabels(fields[i + 1]!.toString())]);
    }
    if (page.length > 0) yield page;
    cursor = next.toString();
  } while (cursor !== "0");
}
