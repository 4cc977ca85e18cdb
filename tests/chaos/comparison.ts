/**
 * Sent, acknowledged and counted, device by device.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import { type ChaosClient, difference } from "./devices.ts";
import type { Silences } from "./silences.ts";
import type { StoreLosses } from "./store_losses.ts";
import type { StorePlace } from "./store_place.ts";
import { streamDifferences } from "./streamed_packets.ts";

/** What clients of one kind have to show. */
export interface Row {
  readonly kind: string;
  clients: number;
  devices: number;
  sent: number;
  /** Sent and against the rules. */
  invalid: number;
  /** Known to the clients to be stored or rejected. */
  acknowledged: number;
  counted: number;
  /** Missing, because the store itself lost it, or a gateway's file. */
  gone: number;
  lost: number;
  double: number;
}

const EMPTY_ROW = {
  clients: 0,
  devices: 0,
  sent: 0,
  invalid: 0,
  acknowledged: 0,
  counted: 0,
  gone: 0,
  lost: 0,
  double: 0,
};

/** A device that was last seen so shortly before the clients ended, or later, may be offline since. */
const LAST_PACKETS_MS = 5000;

/** A client of which nothing was settled for longer may have been offline: well below `OFFLINE_AFTER` of `run.ts`. */
const MAX_SILENCE_MS = 15_000;

/** What was found at the end. */
export interface Comparison {
  readonly rows: readonly Row[];
  /** Packets of sessions that were compared with the store before it lost them. */
  readonly comparedBefore: number;
  /** One line for each device that is not as it must be, in the store or in the api's answer. */
  readonly differences: readonly string[];
}

/**
 * Compares what `clients` recorded with what the store holds and with what the api returns. They sent nothing new from
 * `endedAtMs` on, Unix milliseconds.
 */
export async function compare(
  clients: readonly ChaosClient[],
  store: StorePlace,
  apiPort: number,
  losses: StoreLosses,
  endedAtMs: number,
  silences: Silences,
): Promise<Comparison> {
  await store.allCounted();
  const counts = await store.counts();
  const rows = new Map<string, Row>();
  const differences = [...losses.differences, ...await streamDifferences(store, counts)];
  const shown = await shownCounts(apiPort, counts);
  const timestamps = await apiTimestamps(apiPort);
  const known = new Set<string>();

  for (const client of clients) {
    const { kind } = client;
    const row = rows.get(kind) ?? { kind, ...EMPTY_ROW };
    rows.set(kind, row);
    row.clients++;
    row.sent += client.sent;
    row.acknowledged += client.settled;
    row.invalid += client.invalid;
    for (const expected of client.expectations(losses)) {
      const { deviceId } = expected;
      known.add(deviceId);
      const counted = counts.get(deviceId) ?? 0;
      const { gone, lost, double } = difference(expected, counted);
      row.devices++;
      row.counted += counted;
      row.gone += gone;
      row.lost += lost;
      row.double += double;
      const { sent, acknowledged, gone: { least, most } } = expected;
      const about = `${deviceId}: sent ${sent}, acknowledged ${acknowledged}` +
        (most > 0 ? `, ${least} to ${most} may be gone with the store or a file` : "");
      if (lost + double > 0) differences.push(`${about}, counted ${counted}`);
      if ((shown.get(deviceId) ?? 0) !== counted) {
        differences.push(`${about}, counted ${counted}, but the api returns ${shown.get(deviceId)}`);
      }
      if (
        silences.longestMs(client) < MAX_SILENCE_MS &&
        await wasOffline(apiPort, deviceId, endedAtMs - LAST_PACKETS_MS)
      ) {
        differences.push(`${deviceId}: was called offline`);
      }
      const timestampMs = timestamps.get(deviceId);
      if (expected.timestampMs !== undefined && timestampMs !== expected.timestampMs) {
        differences.push(`${about}, the latest at ${expected.timestampMs}; its record has ${timestampMs}`);
      }
    }
  }
  for (const [deviceId, count] of [...counts, ...shown]) {
    if (!known.has(deviceId)) differences.push(`${deviceId}: counted ${count}, but nobody sent it`);
  }
  return { rows: [...rows.values()], comparedBefore: losses.comparedPackets, differences };
}

/** How long the api may take to show what the store has. */
const SHOWN_AFTER_MS = 3000;

/** What the api shows when that is what the store has, or at last. */
async function shownCounts(
  apiPort: number,
  counts: ReadonlyMap<string, number>,
): Promise<ReadonlyMap<string, number>> {
  for (const startedMs = performance.now();;) {
    const shown = await apiCounts(apiPort);
    const isAll = [...counts].every(([deviceId, count]) => shown.get(deviceId) === count);
    if (isAll || performance.now() - startedMs > SHOWN_AFTER_MS) return shown;
    await delay(100);
  }
}

/** The api may respond with what it read a moment ago: requests it until that was after this call. */
async function apiCounts(port: number): Promise<Map<string, number>> {
  const requestedAtMs = performance.now();
  for (;;) {
    const response = await fetch(`http://127.0.0.1:${port}/metrics`);
    const devices: { device_id: string; count: number }[] = await response.json();
    const ageMs = Number(response.headers.get("tally-snapshot-age-ms"));
    if (response.ok && ageMs < performance.now() - requestedAtMs) {
      return new Map(devices.map(({ device_id, count }) => [device_id, count]));
    }
  }
}

/** Each device's latest timestamp. */
async function apiTimestamps(port: number): Promise<Map<string, number>> {
  const timestamps = new Map<string, number>();
  let cursor: string | null = "";
  do {
    const response = await fetch(
      `http://127.0.0.1:${port}/devices?limit=1000${cursor && `&cursor=${cursor}`}`,
    );
    const page: { devices: { device_id: string; timestamp_ms: number }[]; next_cursor: string | null } =
      await response.json();
    for (const { device_id, timestamp_ms } of page.devices) timestamps.set(device_id, timestamp_ms);
    cursor = page.next_cursor;
  } while (cursor !== null);
  return timestamps;
}

/** Whether the api called a device offline that was last seen before this. */
async function wasOffline(port: number, deviceId: string, lastSeenBeforeMs: number): Promise<boolean> {
  const response = await fetch(`http://127.0.0.1:${port}/events?limit=1000&device=${deviceId}`);
  const { events }: { events: { kind: string; last_seen_ms: number }[] } = await response.json();
  return events.some((event) => event.kind === "offline" && event.last_seen_ms < lastSeenBeforeMs);
}
