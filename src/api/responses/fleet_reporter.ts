/**
 * `/fleet`: sums, rates, history, and the ingest processes.
 *
 * @module
 */
import type { EventLog } from "../../alerts/event_log.ts";
import type { WebhookCounters } from "../../alerts/webhook.ts";
import type { FleetCache } from "../../fleet/fleet_cache.ts";
import { apiMetrics, type ApiReport } from "../../metrics/api_metrics.ts";
import { ingestMetrics, type InstanceReport } from "../../metrics/ingest_metrics.ts";
import type { Clock } from "../../runtime/clock.ts";
import { CLOCK_AHEAD_MS } from "../../store/devices.ts";
import type { FleetHistory, Period } from "../../store/history.ts";
import type { ShardReport, Store } from "../../store/store.ts";
import type { StoreHealth } from "../../store/store_clock.ts";
import type { FleetReport } from "../schemas/fleet.ts";
import { metricRow } from "../schemas/metric_table.ts";
import { periodJson } from "./history_json.ts";

/** History, events and ingest processes are read at most this often: they change once a second. */
const READ_INTERVAL_MS = 1_000;

/** What {@linkcode FleetReporter} needs. */
export interface FleetReporterOptions {
  /** Has the devices. */
  readonly fleet: FleetCache;
  /** Has the rest. */
  readonly store: Pick<Store, "description" | "fleetHistory" | "instances" | "shards">;
  /** What to report of the store and the clock. */
  readonly storeHealth: () => StoreHealth;
  /** Has the events. */
  readonly eventLog: EventLog;
  /** This process's own figures. */
  readonly apiReport: () => ApiReport;
  /** What is delivered to the webhook; undefined: there is none. */
  readonly webhookCounters: WebhookCounters | undefined;
  /** The time: of packets, and to measure durations. */
  readonly clock: Clock;
  /** A device silent for longer is offline. */
  readonly offlineAfterMs: number;
}

/** What the store has of the fleet besides the devices. */
interface Rest {
  readonly history: FleetHistory;
  /** The moment the history goes up to, Unix milliseconds. */
  readonly untilMs: number;
  readonly instances: readonly InstanceReport[];
  readonly shards: readonly ShardReport[];
  readonly lastEventId: number;
}

/** Makes the report; one read of the store serves all requests. */
export class FleetReporter {
  readonly #options: FleetReporterOptions;
  #rest: { readAtMs: number; read: Promise<Rest> } | undefined;

  /** Reads nothing yet. */
  constructor(options: FleetReporterOptions) {
    this.#options = options;
  }

  /** Sums as fresh as {@linkcode FleetCache} has them, the rest a second old at most. Rejects as the store does. */
  async report(): Promise<FleetReport> {
    const { fleet, store, storeHealth, apiReport, clock, offlineAfterMs, webhookCounters } = this.#options;
    const [{ history, untilMs, instances, shards, lastEventId }] = await Promise.all([
      this.#readRest(),
      fleet.refresh({ keepWarm: true }),
    ]);
    const nowMs = clock.unixMs();
    const { clockAheadMs, evictionPolicy, countsLateMs } = storeHealth();
    const { devices, online, count, firstSeenMs = nowMs } = fleet.index.totals(nowMs);
    // One that is ahead is of a clock that was set back since.
    const knownSinceMs = firstSeenMs > nowMs + CLOCK_AHEAD_MS ? 0 : firstSeenMs;
    return {
      now_ms: nowMs,
      devices,
      tags: fleet.labels.distinctTags,
      online,
      offline: devices - online,
      count,
      rate_10s: rateOver(history.seconds, 10, knownSinceMs),
      rate_1m: rateOver(history.seconds, 60, knownSinceMs),
      offline_after_ms: offlineAfterMs,
      last_event_id: lastEventId,
      store: {
        description: store.description,
        ok: true,
        eviction_policy: evictionPolicy ?? null,
        clock_ahead_ms: clockAheadMs,
        counts_late_ms: countsLateMs,
        shards: shards.map(shardJson),
      },
      webhook: webhookCounters === undefined ? null : webhookJson(webhookCounters),
      instances: instances.map((report) => metricRow(ingestMetrics, report)),
      api: metricRow(apiMetrics, apiReport()),
      history: {
        until_ms: untilMs,
        seconds: history.seconds.map(periodJson),
        minutes: history.minutes.map(periodJson),
        hours: history.hours.map(periodJson),
      },
    };
  }

  #readRest(): Promise<Rest> {
    const { store, eventLog, clock } = this.#options;
    const nowMs = clock.monotonicMs();
    if (this.#rest === undefined || nowMs - this.#rest.readAtMs >= READ_INTERVAL_MS) {
      const readRest = async () => {
        try {
          const untilMs = clock.unixMs();
          const [history, instances, shards = []] = await Promise.all([
            store.fleetHistory(untilMs),
            store.instances(untilMs),
            store.shards?.(),
            eventLog.refresh(),
          ]);
          return { history, untilMs, instances, shards, lastEventId: eventLog.newestId };
        } catch (error) {
          this.#rest = undefined;
          throw error;
        }
      };
      this.#rest = { readAtMs: nowMs, read: readRest() };
    }
    return this.#rest.read;
  }
}

/**
 * Packets per second over the newest `windowSeconds` that are over; of a fleet that is younger, over those after
 * the second of its first packet, which was received somewhere in it. As long as there is none, over that one.
 */
function rateOver(seconds: readonly Period[], windowSeconds: number, firstSeenMs: number): number {
  const over = seconds.slice(-1 - windowSeconds, -1);
  const after = over.filter(({ startMs }) => startMs > firstSeenMs);
  const counted = after.length > 0 ? after : over.slice(-1);
  return counted.reduce((sum, { packets }) => sum + packets, 0) / Math.max(1, counted.length);
}

function shardJson(
  { address, devices, memoryBytes, responseMs, lateSinceMs, countsLateMs }: ShardReport,
): FleetReport["store"]["shards"][number] {
  return {
    address,
    devices: devices ?? null,
    memory_bytes: memoryBytes ?? null,
    response_ms: responseMs === undefined ? null : Math.round(responseMs),
    late_since_ms: lateSinceMs ?? null,
    counts_late_ms: countsLateMs ?? null,
  };
}

function webhookJson(
  { delivered, setAside, gaps, failures, stopped }: WebhookCounters,
): NonNullable<FleetReport["webhook"]> {
  return { delivered, set_aside: setAside, gaps, failures, stopped };
}
