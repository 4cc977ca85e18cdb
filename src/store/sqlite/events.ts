/**
 * Events in a SQLite file, and the lease to deliver them.
 *
 * @module
 */
import { CLOCK_AHEAD_MS } from "../devices.ts";
import { type DeviceEvent, EVENTS_KEPT, type EventStore } from "../events.ts";
import type { DeliveryLease } from "../lease.ts";
import type { ChangeList } from "./changes.ts";
import type { Database } from "./database.ts";
import { lagSql, readRecordSql, type RecordRow } from "./records.ts";

/** No lease lasts longer; one that seems to was claimed before the clock was set back. */
export const LEASE_MAX_MS = 60_000;

/** Adds an event, in the caller's transaction. */
export type AddEvent = (
  kind: DeviceEvent["kind"],
  deviceId: string,
  atMs: number,
  lastSeenMs: number,
) => void;

const event = "SELECT id, kind, device_id AS deviceId, at_ms AS atMs, last_seen_ms AS lastSeenMs FROM events";

const queries = {
  add: "INSERT INTO events (kind, device_id, at_ms, last_seen_ms) VALUES (?, ?, ?, ?)",
  trim: "DELETE FROM events WHERE id <= ?",
  read: `${event} WHERE id > ? ORDER BY id LIMIT ?`,
  readNewest: `SELECT * FROM (${event} ORDER BY id DESC LIMIT ?) ORDER BY id`,
  readImported: "SELECT event_id AS eventId FROM imports WHERE source = ?",
  writeImported: "INSERT OR REPLACE INTO imports VALUES (?, ?)",
  readRecord: readRecordSql,
  readLag: `SELECT ${lagSql("?")} AS lagMs`,
  setOffline: "UPDATE devices SET online = 0 WHERE device_id = ?",
  claim: `
    INSERT INTO delivery SELECT 1, ?1, ?2, coalesce(max(id), 0) FROM events WHERE true
    ON CONFLICT DO UPDATE SET owner = ?1, expires_at_ms = ?2
      WHERE owner = ?1 OR expires_at_ms NOT BETWEEN ?3 + 1 AND ?3 + ${LEASE_MAX_MS}
    RETURNING event_id AS eventId`,
  commit: "UPDATE delivery SET event_id = ? WHERE owner = ? AND expires_at_ms > ?",
};

/** Events and their delivery. */
export function sqliteEvents(
  database: Database,
  changes: ChangeList,
): EventStore & DeliveryLease & { readonly addEvent: AddEvent } {
  const statements = database.prepare(queries);
  const addEvent: AddEvent = (kind, deviceId, atMs, lastSeenMs) => {
    const { lastInsertRowid } = statements.add.run(kind, deviceId, atMs, lastSeenMs);
    statements.trim.run(Number(lastInsertRowid) - EVENTS_KEPT);
  };

  return {
    addEvent,

    markOffline: (deviceIds, lastSeenBeforeMs, nowMs) =>
      database.write(`mark ${deviceIds.length} devices offline in`, () => {
        const { lagMs } = statements.readLag.get(nowMs) as { lagMs: number };
        const changed = deviceIds.filter((deviceId) => {
          const row = statements.readRecord.get(deviceId) as RecordRow | undefined;
          if (row === undefined || row.online === 0) return false;
          const isAhead = row.lastSeenMs > nowMs + CLOCK_AHEAD_MS; // written before the clock was set back
          if (row.lastSeenMs >= lastSeenBeforeMs - lagMs && !isAhead) return false;
          statements.setOffline.run(deviceId);
          addEvent("offline", deviceId, nowMs, Math.min(row.lastSeenMs, nowMs));
          return true;
        });
        if (changed.length > 0) changes.add(changed);
        return changed.length;
      }),

    events: (after, limit) =>
      database.read("read events from", () => {
        const rows = after === undefined
          ? statements.readNewest.all(limit)
          : statements.read.all(after, limit);
        return (rows as unknown as DeviceEvent[]).map((row) => ({ ...row }));
      }),

    importEvents: (source, after, events, until = events.at(-1)?.id ?? after) =>
      database.write(`append ${events.length} events of ${source} to`, () => {
        const row = statements.readImported.get(source) as { eventId: number } | undefined;
        const imported = row?.eventId ?? 0;
        if (imported !== after || until === after) return imported;
        for (const { kind, deviceId, atMs, lastSeenMs } of events) addEvent(kind, deviceId, atMs, lastSeenMs);
        statements.writeImported.run(source, until);
        return until;
      }),

    claimDelivery: (owner, ttlMs, nowMs) =>
      database.write("claim the delivery of events in", () => {
        const row = statements.claim.get(owner, nowMs + ttlMs, nowMs);
        return row && (row as { eventId: number }).eventId;
      }),

    commitDelivery: (owner, eventId, nowMs) =>
      database.write(
        "commit delivered events to",
        () => statements.commit.run(eventId, owner, nowMs).changes === 1,
      ),
  };
}
