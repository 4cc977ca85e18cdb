/**
 * Batches and claims of sessions in a SQLite file: the same as `apply.lua` and `claim.lua` do in Redis.
 *
 * @module
 */
import type { Batch, DeviceDelta, PacketStore, Unapplied } from "../packets.ts";
import type { ChangeList } from "./changes.ts";
import type { Database } from "./database.ts";
import type { Appended, DeferredPackets, Split } from "./deferred_packets.ts";
import { deviceRooms, refusedBefore } from "./device_room.ts";
import type { DeviceWriter } from "./device_writer.ts";
import type { FleetPeriods } from "./histories.ts";
import { packetAppender } from "./packet_stream.ts";
import { Sessions } from "./sessions.ts";
import type { ValueTables } from "./values.ts";

/** Expired rows are deleted at most this often. */
const EXPIRE_INTERVAL_MS = 1000;

/** What a batch writes beside sessions. */
export interface BatchParts {
  /** Receives the devices of a batch that are counted at once. */
  readonly changes: ChangeList;
  /** Adds to them. */
  readonly writer: DeviceWriter;
  /** Receives the packets of a batch. */
  readonly fleetPeriods: FleetPeriods;
  /** Receives the payloads of what is counted at once. */
  readonly values: ValueTables;
  /** Receives devices of large batches. */
  readonly deferred: DeferredPackets;
}

/** What became of a batch in its transaction, unless it was applied before or nothing of it was. */
interface Written {
  readonly split: Split;
  readonly appended: Appended | undefined;
  readonly unapplied: Unapplied;
}

/** Applies batches in one transaction each. */
export function sqlitePackets(database: Database, parts: BatchParts): PacketStore {
  const { deferred } = parts, sessions = new Sessions(database);
  const write = transactionOf(database, parts, sessions);
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

    deferred: () => deferred.amount,

    async apply(batch) {
      await deferred.room();
      const { devices } = batch;
      const attempt = `apply a batch of ${devices.length} devices and ${batch.sessions.length} sessions to`;
      const written = await database.write(attempt, () => write(batch));
      if (!("split" in written)) return written;
      deferred.applied(batch, written.split, written.appended);
      return written.unapplied;
    },
  };
}

/** Returns what a batch does in its transaction. */
function transactionOf(
  database: Database,
  parts: BatchParts,
  sessions: Sessions,
): (batch: Batch) => Written | Unapplied {
  const { changes, fleetPeriods, deferred, values } = parts;
  const writeDevices = batchWriter(database, parts), appendPackets = packetAppender(database);
  let expiredAtMs = 0;
  const expire = (nowMs: number, usedAtMs: number) => {
    if (Math.abs(nowMs - expiredAtMs) < EXPIRE_INTERVAL_MS) return;
    expiredAtMs = nowMs;
    sessions.expire(usedAtMs);
    fleetPeriods.expire(nowMs);
  };

  return (batch) => {
    const { producer, sequence, previous, receivedAtMs, devices } = batch;
    const usedAtMs = sessions.usedAt(receivedAtMs);
    const applied = sessions.producer(producer, usedAtMs);
    if (sequence <= applied.sequence) {
      sessions.writeProducer(producer, applied, usedAtMs);
      return sequence === applied.sequence ? refusedBefore(applied.refused, devices) : [];
    }
    const fenced = sessions.fenced(batch, applied.sequence, usedAtMs);
    if (fenced.length > 0) return fenced;

    const isIntact = previous === 0 || applied.sequence === previous;
    if (!isIntact) sessions.writeReverted();
    const split = deferred.split(batch, isIntact);
    const appended = split.deferred && deferred.append(split.deferred, receivedAtMs);
    const { packets, added, refused } = writeDevices(batch, split);
    for (const { session, epoch, to } of batch.sessions) sessions.write(session, epoch, to, usedAtMs);
    sessions.writeProducer(producer, { sequence, refused }, usedAtMs);
    if (batch.packetStream !== undefined) {
      const positions = new Set(refused.split(" ").slice(1).map(Number));
      appendPackets(batch, (position) => positions.has(position));
    }
    if (packets > 0) fleetPeriods.add(packets, receivedAtMs);
    if (added.length > 0) {
      changes.add(added.map(({ deviceId }) => deviceId));
      values.append(added, receivedAtMs);
    }
    expire(receivedAtMs, usedAtMs);
    return { split, appended, unapplied: refusedBefore(refused, devices) };
  };
}

/** What {@linkcode batchWriter} wrote. */
interface WrittenDevices {
  /** Of all devices of the batch that are not refused. */
  readonly packets: number;
  /** Devices that are counted. */
  readonly added: readonly DeviceDelta[];
  /** As {@linkcode DeviceRoom.refusal} has it. */
  readonly refused: string;
}

/** Adds the packets of a batch that are counted at once to their devices. */
function batchWriter(
  database: Database,
  { writer }: BatchParts,
): (batch: Batch, split: Split) => WrittenDevices {
  const deviceRoom = deviceRooms(database);
  return ({ devices, deviceLimits, receivedAtMs }, { counted, rows, deferred }) => {
    const room = deviceLimits && counted.length > 0 ? deviceRoom(deviceLimits, receivedAtMs) : undefined;
    const insert = () => room?.take() !== false;
    let packets = deferred?.packets ?? 0;
    const added: DeviceDelta[] = [];
    for (let i = 0; i < counted.length; i++) {
      const delta = counted[i]!;
      rows[i] = writer.add(delta, delta.deviceId, receivedAtMs, rows[i]!, insert);
      if (rows[i] === 0) continue;
      packets += delta.packets;
      added.push(delta);
    }
    room?.close();
    if (added.length === counted.length) return { packets, added, refused: "" };
    const taken = new Set([...deferred?.deltas ?? [], ...added]);
    return { packets, added, refused: room!.refusal(devices, taken) };
  };
}
