/**
 * Batches and claims of sessions in a SQLite file: the same as `apply.lua` and `claim.lua` do in Redis.
 *
 * @module
 */
import { CLOCK_AHEAD_MS } from "../devices.ts";
import type { ForeignCounts } from "../model/foreign_counts.ts";
import { closePeriods, encodeHistory, HOUR_MS, MINUTE_MS, startOf } from "../model/periods.ts";
import { DEVICE_CLOCK_AHEAD_MS, type DeviceDelta, type PacketStore, type Unapplied } from "../packets.ts";
import type { ChangeList } from "./changes.ts";
import type { Database } from "./database.ts";
import { type DeviceRoom, deviceRooms, refusedBefore } from "./device_room.ts";
import type { AddEvent } from "./events.ts";
import type { FleetPeriods } from "./histories.ts";
import { packetAppender } from "./packet_stream.ts";
import { closedPeriodsOf, readRecordSql, type RecordRow } from "./records.ts";
import { Sessions } from "./sessions.ts";
import type { ValueTables } from "./values.ts";

/** Expired rows are deleted at most this often. */
const EXPIRE_INTERVAL_MS = 1000;

/** What a batch writes beside devices and sessions. */
export interface BatchParts {
  /** Receives the devices of a batch. */
  readonly changes: ChangeList;
  /** Receives devices that come back online. */
  readonly addEvent: AddEvent;
  /** Receives the packets of a batch. */
  readonly fleetPeriods: FleetPeriods;
  /** Receives counts of other programs that a batch set aside. */
  readonly foreign: ForeignCounts;
  /** Receives the payloads of a batch. */
  readonly values: ValueTables;
}

/** Applies batches in one transaction each. */
export function sqlitePackets(database: Database, parts: BatchParts): PacketStore {
  const { changes, fleetPeriods, values } = parts;
  const sessions = new Sessions(database);
  const addToDevice = deviceWriter(database, parts);
  const deviceRoom = deviceRooms(database);
  const appendPackets = packetAppender(database);
  let expiredAtMs = 0;
  const expire = (nowMs: number, usedAtMs: number) => {
    if (Math.abs(nowMs - expiredAtMs) < EXPIRE_INTERVAL_MS) return;
    expiredAtMs = nowMs;
    sessions.expire(usedAtMs);
    fleetPeriods.expire(nowMs);
  };

  return {
    claimSession: (session, offset, nowMs, continues, limits, given, resendable) =>
      database.write(
        `claim session ${session} in`,
        () =>
          sessions.claim(
            { session, offset, continues, limits, given, resendable },
            sessions.usedAt(nowMs),
          ),
      ),

    apply(batch) {
      const { producer, sequence, previous, receivedAtMs, devices } = batch;
      const attempt = `apply a batch of ${devices.length} devices and ${batch.sessions.length} sessions to`;
      return database.write<Unapplied>(attempt, () => {
        const usedAtMs = sessions.usedAt(receivedAtMs);
        const applied = sessions.producer(producer, usedAtMs);
        if (sequence <= applied.sequence) {
          sessions.writeProducer(producer, applied, usedAtMs);
          return sequence === applied.sequence ? refusedBefore(applied.refused, devices) : [];
        }
        const fenced = sessions.fenced(batch, applied.sequence, usedAtMs);
        if (fenced.length > 0) return fenced;

        if (previous > 0 && applied.sequence !== previous) sessions.writeReverted();
        const room = batch.deviceLimits && deviceRoom(batch.deviceLimits, receivedAtMs);
        const added = devices.filter((device) => addToDevice(device, receivedAtMs, room));
        for (const { session, epoch, to } of batch.sessions) sessions.write(session, epoch, to, usedAtMs);
        const refused = added.length < devices.length ? room!.refusal(devices, new Set(added)) : "";
        sessions.writeProducer(producer, { sequence, refused }, usedAtMs);
        if (batch.packetStream !== undefined) {
          const stored = new Set(added);
          appendPackets(batch, (position) => !stored.has(devices[position]!));
        }
        if (added.length > 0) {
          room?.close();
          fleetPeriods.add(added.reduce((sum, { packets }) => sum + packets, 0), receivedAtMs);
          changes.add(added.map(({ deviceId }) => deviceId));
          values.append(added, receivedAtMs);
        }
        expire(receivedAtMs, usedAtMs);
        return refusedBefore(refused, devices);
      });
    },
  };
}

const queries = {
  read: readRecordSql,
  insert: "INSERT INTO devices VALUES (?, ?, ?, ?, ?, 1, ?, ?, NULL, ?)",
  // On the right-hand sides a column is the row as it was. A timestamp after ?10 is wrong: any other replaces it.
  update: `
    UPDATE devices SET
      count = ?1,
      last_seen_ms = ?2,
      online = ?3,
      minute_packets = ?4,
      hour_packets = ?5,
      timestamp_ms = iif(?6 >= timestamp_ms OR timestamp_ms > ?10, ?6, timestamp_ms),
      history = ?7,
      payload = iif(?6 >= timestamp_ms OR timestamp_ms > ?10, ?8, payload)
    WHERE rowid = ?9`,
  setAside: "INSERT OR REPLACE INTO set_aside SELECT device_id, count FROM devices WHERE rowid = ?",
};

/**
 * Adds what a batch has of one device; the same as `addToCounts()` and `addToRecords()` of `apply.lua`. Returns false
 * when the device is new and there is no room for it.
 */
function deviceWriter(database: Database, { addEvent, foreign }: BatchParts) {
  const statements = database.prepare(queries);

  const countOf = (deviceId: string, { row, count }: RecordRow, packets: number): number => {
    if (typeof count === "number" && count + packets <= Number.MAX_SAFE_INTEGER) return count;
    statements.setAside.run(row);
    foreign.setAside(deviceId, String(count), "table set_aside");
    return 0;
  };

  return (
    { deviceId, packets, timestampMs, payload }: DeviceDelta,
    receivedAtMs: number,
    room?: DeviceRoom,
  ): boolean => {
    const old = statements.read.get(deviceId) as RecordRow | undefined;
    if (old === undefined) {
      if (room?.take() === false) return false;
      statements.insert.run(
        ...[deviceId, packets, receivedAtMs, receivedAtMs, timestampMs, packets, packets, payload],
      );
      return true;
    }
    const count = countOf(deviceId, old, packets);
    const { lastSeenMs } = old;
    let { minutePackets, hourPackets, online, history } = old;
    // A last seen ahead of that was written before the clock was set back.
    const isAhead = lastSeenMs > Math.max(receivedAtMs, Date.now()) + CLOCK_AHEAD_MS;
    if (receivedAtMs > lastSeenMs || isAhead) {
      if (online === 0) addEvent("online", deviceId, receivedAtMs, Math.min(lastSeenMs, receivedAtMs));
      online = 1;
      if (startOf(MINUTE_MS, receivedAtMs) > startOf(MINUTE_MS, lastSeenMs)) {
        history = encodeHistory(closePeriods(closedPeriodsOf(old), old, receivedAtMs));
        minutePackets = 0;
        if (startOf(HOUR_MS, receivedAtMs) > startOf(HOUR_MS, lastSeenMs)) hourPackets = 0;
      }
    }
    statements.update.run(
      count + packets,
      isAhead ? receivedAtMs : Math.max(lastSeenMs, receivedAtMs),
      online,
      minutePackets + packets,
      hourPackets + packets,
      timestampMs,
      history,
      payload,
      old.row,
      Math.max(lastSeenMs, receivedAtMs) + DEVICE_CLOCK_AHEAD_MS,
    );
    return true;
  };
}
