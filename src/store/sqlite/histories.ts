/**
 * Packets over time in a SQLite file.
 *
 * @module
 */
import type { HistoryStore } from "../history.ts";
import { deviceHistory, fleetHistory, fleetPeriods, startOf } from "../model/periods.ts";
import type { Database } from "./database.ts";
import { closedPeriodsOf, readRecordSql, type RecordRow } from "./records.ts";

/** The fleet's periods as a batch changes them, in the caller's transaction. */
export interface FleetPeriods {
  /** Adds packets to the periods of that time. */
  add(packets: number, atMs: number): void;
  /** Deletes periods that are no longer shown. */
  expire(nowMs: number): void;
}

/** Histories of devices and of the fleet. */
export function sqliteHistories(database: Database): HistoryStore & { readonly fleetPeriods: FleetPeriods } {
  const statements = database.prepare({
    readRecord: readRecordSql,
    readFleet: "SELECT period_ms AS periodMs, start_ms AS startMs, packets FROM fleet_history",
    add: `
      INSERT INTO fleet_history VALUES (?, ?, ?)
      ON CONFLICT DO UPDATE SET packets = packets + excluded.packets`,
    trim: "DELETE FROM fleet_history WHERE start_ms > ?",
    expire: "DELETE FROM fleet_history WHERE period_ms = ? AND start_ms < ?",
  });

  return {
    history: (deviceId, nowMs) =>
      database.read(`read the history of device ${deviceId} from`, () => {
        const row = statements.readRecord.get(deviceId) as RecordRow | undefined;
        if (typeof row?.count !== "number") return undefined;
        return deviceHistory(row, closedPeriodsOf(row), nowMs);
      }),

    fleetHistory: (nowMs) =>
      database.read("read the fleet's history from", () => {
        const rows = statements.readFleet.all() as { periodMs: number; startMs: number; packets: number }[];
        const packets = new Map(rows.map((row) => [`${row.periodMs} ${row.startMs}`, row.packets]));
        return fleetHistory(nowMs, (periodMs, startMs) => packets.get(`${periodMs} ${startMs}`));
      }),

    trimFleetHistory: (untilMs) =>
      database.write("trim the fleet's history in", () => void statements.trim.run(untilMs)),

    fleetPeriods: {
      add(packets, atMs) {
        for (const { periodMs } of fleetPeriods) {
          statements.add.run(periodMs, startOf(periodMs, atMs), packets);
        }
      },

      expire(nowMs) {
        // Kept twice as long as they are shown, for clocks that differ.
        for (const { periodMs, shown } of fleetPeriods) {
          statements.expire.run(periodMs, nowMs - 2 * shown * periodMs);
        }
      },
    },
  };
}
