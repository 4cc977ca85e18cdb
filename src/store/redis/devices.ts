/**
 * Devices in Redis, and the list of their changes.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import type { DeviceStore, DeviceSummary, PayloadPreview } from "../devices.ts";
import { hashOfId } from "./id_hash.ts";
import type { ForeignCounts } from "../model/foreign_counts.ts";
import { readChanges, readPayload, readSummaries } from "./records.ts";
import type { RedisClient } from "./redis_client.ts";
import {
  changesScript,
  deviceScript,
  payloadsScript,
  removedScript,
  removeScript,
  scanScript,
  summariesScript,
} from "./scripts.ts";

/** Devices per HSCAN. */
const SCAN_COUNT = 1000;

/** `foreign` receives counts of other programs that are none; their devices are left out. */
export function redisDevices(client: RedisClient, foreign: ForeignCounts): DeviceStore {
  const names = client.keys;
  const toSummaries = (
    deviceIds: readonly string[],
    counts: readonly (Buffer | null)[],
    records: readonly (Buffer | null)[],
  ) => readSummaries(deviceIds, counts, records, (id, value) => foreign.found(id, value));

  return {
    scan: () => scan(client, toSummaries),

    async summaries(deviceIds) {
      if (deviceIds.length === 0) return [];
      const attempt = `read ${deviceIds.length} devices`;
      const found = await client.read(attempt, summariesScript, [names.counts, names.records], deviceIds);
      return toSummaries(deviceIds, ...found as [(Buffer | null)[], (Buffer | null)[]]);
    },

    async changes(since) {
      const keys = [names.version, names.changes];
      const args = since === undefined ? [] : [since];
      const found = await client.read("read what changed", changesScript, keys, args);
      const [version, entries] = found as [Buffer, Buffer[]?];
      const devices = new Map<string, DeviceSummary | undefined>();
      for (const entry of entries ?? []) readChanges(entry, devices);
      return { version: Number(version), devices: entries === undefined ? "all" : devices };
    },

    async device(deviceId) {
      const keys = [names.counts, names.records, names.payloads];
      const found = await client.read(`read device ${deviceId}`, deviceScript, keys, [deviceId]);
      const [count, record, long] = found as [Buffer | null, Buffer | null, Buffer | null];
      const [summary] = toSummaries([deviceId], [count], [record]);
      return summary && { ...summary, payload: readPayload(record, long) };
    },

    async payloads(deviceIds, maxBytes) {
      if (deviceIds.length === 0) return new Map();
      const attempt = `read the payloads of ${deviceIds.length} devices`;
      const args = [maxBytes, ...deviceIds];
      const found = await client.read(attempt, payloadsScript, [names.records, names.payloads], args);
      return readPreviews(deviceIds, found as ([number, Buffer] | null)[]);
    },

    async removedPackets() {
      const attempt = "read the packets of removed devices";
      return Number(await client.read(attempt, removedScript, [names.removed], []) ?? 0);
    },

    async remove(deviceId) {
      return await remove(client, `remove device ${deviceId}`, "", [deviceId]) === 1;
    },

    async removeUnseen(deviceIds, lastSeenBeforeMs) {
      if (deviceIds.length === 0) return 0;
      return await remove(client, `remove ${deviceIds.length} devices`, lastSeenBeforeMs, deviceIds);
    },
  };
}

async function remove(
  client: RedisClient,
  attempt: string,
  lastSeenBeforeMs: number | "",
  deviceIds: readonly string[],
): Promise<number> {
  const names = client.keys;
  const keys = [
    ...[
      names.counts,
      names.records,
      names.payloads,
      names.histories,
      names.version,
      names.changes,
      names.nothing,
    ],
    ...[names.removed, names.setAside, names.logs, names.removals, names.removedHashes],
    ...[names.labels, names.notes, names.labelsVersion, names.labelChanges],
    ...[names.samples, names.sampleState, names.valueFeed],
    ...[names.values, names.valueMinutes, names.valueHours],
  ];
  return await client.write(attempt, removeScript, keys, [
    lastSeenBeforeMs,
    ...deviceIds.flatMap((id) => [id, hashOfId(id)]),
  ]) as number;
}

async function* scan(
  client: RedisClient,
  toSummaries: (ids: string[], counts: Buffer[], records: (Buffer | null)[]) => DeviceSummary[],
): AsyncGenerator<readonly DeviceSummary[]> {
  const names = client.keys;
  // HSCAN may return a field more than once while the hash grows or shrinks.
  const seen = new Set<string>();
  let cursor = "0";
  do {
    const args = [cursor, SCAN_COUNT];
    const found = await client.read("scan the devices", scanScript, [names.counts, names.records], args);
    const [next, parts, others] = found as [Buffer, Buffer, [Buffer, Buffer, Buffer | null][]];
    const devices = new Map<string, DeviceSummary>();
    readChanges(parts, devices as Map<string, DeviceSummary | undefined>); // None of them is to be looked up.
    for (const summary of toSummaries(...columnsOf(others))) devices.set(summary.deviceId, summary);
    const page = [...devices.values()].filter(({ deviceId }) => !seen.has(deviceId));
    for (const { deviceId } of page) seen.add(deviceId);
    if (page.length > 0) yield page;
    cursor = next.toString();
  } while (cursor !== "0");
}

function columnsOf(
  rows: readonly [id: Buffer, count: Buffer, record: Buffer | null][],
): [string[], Buffer[], (Buffer | null)[]] {
  return [
    rows.map(([id]) => id.toString()),
    rows.map(([, count]) => count),
    rows.map(([, , record]) => record),
  ];
}

function readPreviews(
  deviceIds: readonly string[],
  previews: readonly ([number, Buffer] | null)[],
): Map<string, PayloadPreview> {
  return new Map(deviceIds.flatMap((deviceId, i) => {
    const preview = previews[i];
    if (!preview) return [];
    const [totalBytes, bytes] = preview;
    return [[deviceId, { totalBytes, bytes: Uint8Array.from(bytes) }]];
  }));
}
