/**
 * The api with its page on a store, as operators have it, and devices whose packets were received just now.
 *
 * @module
 */
import type { ApiOptions } from "../../src/api/api.ts";
import { ingestMetrics } from "../../src/metrics/ingest_metrics.ts";
import { absentReport } from "../../src/metrics/metric.ts";
import type { DeviceDelta } from "../../src/store/packets.ts";
import type { Store } from "../../src/store/store.ts";
import { startTestApi } from "./test_api.ts";
import { until } from "./until.ts";

/** A running api. */
export interface Monitor extends AsyncDisposable {
  /** Where its page is. */
  readonly url: string;
  /** To start another one in its place. */
  readonly port: number;
}

/** Starts the api on `store`. */
export async function startMonitor(store: Store, options: Partial<ApiOptions> = {}): Promise<Monitor> {
  const api = await startTestApi(store, options);
  return { ...api, url: `${api.url}/` };
}

let sequence = 0;
const producer = crypto.randomUUID();

/** Stores packets as received now, or at another time. */
export async function receive(
  store: Store,
  devices: readonly DeviceDelta[],
  receivedAtMs = Date.now(),
): Promise<void> {
  await store.apply({
    producer,
    sequence: ++sequence,
    previous: sequence - 1,
    receivedAtMs,
    devices,
    sessions: [],
  });
}

/** Ids with leading zeros: `sensor-000` to `sensor-049`. */
export function numberedIds(count: number, prefix = "sensor-"): string[] {
  return Array.from({ length: count }, (_, i) => prefix + String(i).padStart(String(count - 1).length, "0"));
}

/** Devices in one batch. */
const BATCH_DEVICES = 5_000;

/**
 * Stores `packets` of each device every `everyMs`, as received from `fromMs` to `toMs` on a clock that has moved
 * so far: hours take as long as their batches.
 */
export async function receiveFor(
  store: Store,
  deviceIds: readonly string[],
  { fromMs, toMs, everyMs, packets }: { fromMs: number; toMs: number; everyMs: number; packets: number },
): Promise<void> {
  for (let atMs = fromMs; atMs <= toMs; atMs += everyMs) {
    for (let start = 0; start < deviceIds.length; start += BATCH_DEVICES) {
      const devices = deviceIds.slice(start, start + BATCH_DEVICES).map((deviceId) => ({
        deviceId,
        packets,
        timestampMs: Math.round(atMs),
        payload: new TextEncoder().encode(`{"celsius":${20 + deviceId.length % 9}.5}`),
      }));
      await receive(store, devices, Math.round(atMs));
    }
  }
}

/** Has the store report an ingest process that lives for some 18 seconds; `instance` distinguishes it. */
export async function reportIngest(store: Store, instance = "test-ingest"): Promise<void> {
  await store.reportInstance({
    ...absentReport(ingestMetrics),
    ...{ instance, host: "gateway", pid: 4711, version: "0.1.0", ingestAddress: "127.0.0.1:50051" },
    startedMs: Date.now(),
    // The store keeps a report for 10 s after its time, and takes one that is up to 10 s ahead.
    reportedMs: Date.now() + 9_000,
    ...{ rate: 10, received: 100, stored: 100 },
    ...{ streams: 4, connections: 4, maxConnections: 100, queueMaxPackets: 10_000, fastPath: true },
    ...{ cpuSeconds: 1, residentBytes: 1e8, eventLoopLagMs: 1 },
  });
}

/** Resolves when the payloads received so far are added to the values, which an ingest begins every second. */
export async function untilFolded(store: Store): Promise<void> {
  await until(async () => {
    await store.ping();
    return (await store.waitingSamples()).bytes === 0;
  }, "no payload waits");
}
