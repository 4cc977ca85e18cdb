/**
 * The fleet at a glance: sums, rates, history, and the ingest processes.
 *
 * @module
 */
import type { FleetHistory, InstanceReport, Period, Store } from "../store/store.ts";
import type { StoreHealth } from "../clock.ts";
import type { EventLog } from "./event_log.ts";
import type { Fleet } from "./fleet.ts";
import type { FleetAnswer, InstanceRow, PeriodRow } from "./schemas.ts";

/** History, events and ingest processes are read at most this often: they have no news in between. */
const READ_INTERVAL_MS = 1_000;

/** What {@linkcode FleetFigures} needs. */
export interface FleetFiguresOptions {
  /** Has the devices. */
  readonly fleet: Fleet;
  /** Has the rest. */
  readonly store: Pick<Store, "description" | "fleetHistory" | "instances">;
  /** What to report of the store and the clock. */
  readonly storeHealth: () => StoreHealth;
  /** Has the events. */
  readonly eventLog: EventLog;
  /** Milliseconds on a clock that never goes back. */
  readonly now: () => number;
  /** Unix milliseconds. */
  readonly unixNow: () => number;
  /** A device silent for longer is offline. */
  readonly offlineAfterMs: number;
}

/** What the store has of the fleet besides the devices. */
interface Rest {
  readonly history: FleetHistory;
  readonly instances: readonly InstanceReport[];
  readonly lastEventId: number;
}

/** Reads once for all that ask. */
export class FleetFigures {
  readonly #options: FleetFiguresOptions;
  #rest: { readAtMs: number; read: Promise<Rest> } | undefined;

  /** Reads nothing yet. */
  constructor(options: FleetFiguresOptions) {
    this.#options = options;
  }

  /** Sums as fresh as {@linkcode Fleet.fresh} says, the rest a second old at most. Rejects as the store does. */
  async current(): Promise<FleetAnswer> {
    const { fleet, store, storeHealth, unixNow, offlineAfterMs } = this.#options;
    const [{ history, instances, lastEventId }] = await Promise.all([this.#readRest(), fleet.fresh()]);
    const nowMs = unixNow();
    const { clockAheadMs, evictionPolicy } = storeHealth();
    const { devices, online, count } = fleet.index.totals(nowMs);
    return {
      now_ms: nowMs,
      devices,
      online,
      offline: devices - online,
      count,
      rate_10s: rateOver(history.seconds, 10),
      rate_1m: rateOver(history.seconds, 60),
      offline_after_ms: offlineAfterMs,
      last_event_id: lastEventId,
      store: {
        description: store.description,
        ok: true,
        eviction_policy: evictionPolicy ?? null,
        clock_ahead_ms: clockAheadMs,
      },
      instances: instances.map(instanceJson),
      history: {
        seconds: history.seconds.map(periodJson),
        minutes: history.minutes.map(periodJson),
        hours: history.hours.map(periodJson),
      },
    };
  }

  #readRest(): Promise<Rest> {
    const { store, eventLog, now, unixNow } = this.#options;
    const nowMs = now();
    if (this.#rest === undefined || nowMs - this.#rest.readAtMs >= READ_INTERVAL_MS) {
      const readRest = async () => {
        try {
          const [history, instances] = await Promise.all([
            store.fleetHistory(unixNow()),
            store.instances(unixNow()),
            eventLog.fresh(),
          ]);
          return { history, instances, lastEventId: eventLog.newestId };
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

/** As readers get it. */
export function periodJson({ startMs, packets }: Period): PeriodRow {
  return { start_ms: startMs, packets };
}

/** Packets per second over the newest seconds that are over. */
function rateOver(seconds: readonly Period[], window: number): number {
  return seconds.slice(-1 - window, -1).reduce((sum, { packets }) => sum + packets, 0) / window;
}

function instanceJson(report: InstanceReport): InstanceRow {
  return {
    instance: report.instance,
    host: report.host,
    pid: report.pid,
    worker: report.worker,
    started_ms: report.startedMs,
    reported_ms: report.reportedMs,
    rate: report.rate,
    streams: report.streams,
    connections: report.connections,
    queue_packets: report.queuePackets,
    queue_max_packets: report.queueMaxPackets,
    received: report.received,
    stored: report.stored,
    duplicates: report.duplicates,
    fenced: report.fenced,
    rejected: { ...report.rejected },
    queue_full: report.queueFull,
    failed_flushes: report.failedFlushes,
    connections_cut: report.connectionsCut,
    calls_refused: report.callsRefused,
    clock_ahead_ms: report.clockAheadMs ?? 0,
    fast_path: report.fastPath,
    ingest_address: report.ingestAddress,
  };
}
