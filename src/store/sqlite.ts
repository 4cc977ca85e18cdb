/**
 * Counts in a SQLite file that several processes may share. The tables and statements are in `sqlite_tables.ts`,
 * opening and locking the file in `sqlite_file.ts`; `sqlite_threads.ts` runs it all off the event loop.
 *
 * @module
 */
import { resolve } from "node:path";
import type { DatabaseSync } from "node:sqlite";

import { ForeignCounts, type WarningLog } from "./foreign_counts.ts";
import {
  deviceHistory,
  encodeHistory,
  endPeriods,
  fleetHistory,
  fleetPeriods,
  HOUR_MS,
  MINUTE_MS,
} from "./history.ts";
import { ExpiryClock } from "./expiry_clock.ts";
import { currentReports } from "./instances.ts";
import {
  describeFile,
  failure,
  oneState,
  openAlone,
  openFile,
  OpenFiles,
  transaction,
  tuning,
  whenUnlocked,
  writeApplicationId,
} from "./sqlite_file.ts";
import {
  createTables,
  endedPeriods,
  type FleetRow,
  type LineageRow,
  pages,
  prepare,
  type RecordRow,
  type SessionRow,
  type Statements,
  toPreviews,
  toSummaries,
} from "./sqlite_tables.ts";
import {
  type AckAfter,
  type Batch,
  type Changes,
  CHANGES_MAX_BYTES,
  CLOCK_AHEAD_MS,
  DEVICE_CLOCK_AHEAD_MS,
  type DeviceDelta,
  type DeviceEvent,
  type DeviceState,
  type DeviceSummary,
  EVENTS_KEPT,
  type FencedSession,
  type FencedSessions,
  type FleetHistory,
  type History,
  INSTANCE_EXPIRY_MS,
  type InstanceReport,
  type PayloadPreview,
  PRODUCER_EXPIRY_MS,
  SESSION_EXPIRY_MS,
  type SessionClaim,
  type Store,
  StoreError,
  type StoreStatus,
} from "./store.ts";

/** Where the file is, and how it is used. */
export interface SqliteStoreOptions {
  /** Made if it is missing, with its folder. */
  readonly path: string;
  /** `replicated` is refused: a file has no replicas. */
  readonly ackAfter: AckAfter;
  /** How long a method waits for another process's transaction before it rejects; 1,000 by default. */
  readonly lockTimeoutMs?: number;
  /** Receives a warning for counts that another program wrote and that are none. */
  readonly log?: WarningLog;
}

/**
 * A store in the SQLite file at `path`. Its methods do their work on the thread that calls them:
 * `sqlite_threads.ts` has the same without that.
 *
 * @throws {StoreError} The file cannot be opened or made, holds another program's database, or `ackAfter` asks
 * for replicas.
 */
export async function openSqliteStore(
  { path, ackAfter, lockTimeoutMs = 1000, log = { warn() {} } }: SqliteStoreOptions,
): Promise<SqliteStore> {
  const file = resolve(path);
  if (ackAfter.kind === "replicated") {
    throw new StoreError(
      `could not open SQLite file ${file}: acknowledging after replication needs Redis: ` +
        `choose "stored" or "synced", or configure Redis`,
    );
  }
  return await openAlone(file, lockTimeoutMs, async () => {
    const db = openFile(file);
    try {
      // In WAL mode NORMAL survives the end of the process; FULL, one sync per commit, a power cut too.
      const synchronous = ackAfter.kind === "synced" ? "FULL" : "NORMAL";
      await whenUnlocked(
        db,
        lockTimeoutMs,
        () => db.exec("PRAGMA journal_mode = WAL"),
        () => db.exec(`PRAGMA synchronous = ${synchronous}`),
      );
      db.exec(tuning);
      await transaction(db, lockTimeoutMs, () => {
        createTables(db);
        db.exec(writeApplicationId);
      });
      return new SqliteStore(db, file, lockTimeoutMs, log);
    } catch (error) {
      db.close();
      throw failure("open", file, error);
    }
  });
}

/** Expired rows are deleted at most this often. */
const CLEAN_UP_INTERVAL_MS = 1000;

/** See {@linkcode openSqliteStore}. */
export class SqliteStore implements Store {
  readonly description: string;
  readonly #db: DatabaseSync;
  readonly #file: string;
  readonly #lockTimeoutMs: number;
  readonly #statements: Statements;
  readonly #foreign: ForeignCounts;
  readonly #openFiles: OpenFiles;
  readonly #expiry: ExpiryClock;
  #cleanedUpAtMs = 0;

  /** Keeps `db`, which has the tables. */
  constructor(db: DatabaseSync, file: string, lockTimeoutMs: number, log: WarningLog) {
    this.description = describeFile(file);
    this.#db = db;
    this.#file = file;
    this.#lockTimeoutMs = lockTimeoutMs;
    this.#statements = prepare(db);
    this.#foreign = new ForeignCounts(file, log);
    this.#openFiles = new OpenFiles(file);
    this.#expiry = new ExpiryClock(() => {
      const { newestExpiryMs } = this.#statements.readNewestExpiry.get() as { newestExpiryMs: number | null };
      return newestExpiryMs === null ? undefined : newestExpiryMs - SESSION_EXPIRY_MS;
    });
  }

  /** False once it was closed, or found that its file was deleted or replaced: open another store then. */
  get isOpen(): boolean {
    return this.#db.isOpen;
  }

  /** Writes a page, as every batch does: that shows a disk that is full. */
  async ping(): Promise<void> {
    await this.#write("write to", () => this.#db.exec(writeApplicationId));
  }

  /** All processes that share the file run on this machine. */
  status(): Promise<StoreStatus> {
    return Promise.resolve({ clockMs: undefined, evictionPolicy: undefined });
  }

  claimSession(session: string, offset: number, nowMs: number): Promise<SessionClaim> {
    const { readSession, writeSession, readLineage, writeReverted } = this.#statements;
    return this.#write<SessionClaim>(`claim session ${session} in`, () => {
      const usedAtMs = this.#expiry.at(nowMs);
      const known = readSession.get(session, usedAtMs) as SessionRow | undefined;
      const committed = Math.max(known?.committed ?? 0, offset);
      let lost = committed - (known?.committed ?? 0);
      if (known !== undefined && lost > 0) writeReverted.run();
      const lineage = readLineage.get() as unknown as LineageRow;
      // Forgotten because it was not used, or so it may be.
      if (known === undefined && lineage.nowMs - lineage.sinceMs >= SESSION_EXPIRY_MS) lost = 0;
      // No epoch is used twice, not even by a file that was replaced by an older one.
      const epoch = Math.max((known?.epoch ?? 0) + 1, lineage.nowMs);
      writeSession.run(session, epoch, committed, usedAtMs + SESSION_EXPIRY_MS);
      return { epoch, committed, lost };
    });
  }

  apply(batch: Batch): Promise<FencedSessions> {
    const { producer, sequence, previous, receivedAtMs, devices, sessions } = batch;
    const { readSequence, writeSequence, writeSession } = this.#statements;
    const attempt = `apply a batch of ${devices.length} devices and ${sessions.length} sessions to`;
    return this.#write<FencedSessions>(attempt, () => {
      const usedAtMs = this.#expiry.at(receivedAtMs);
      const row = readSequence.get(producer, usedAtMs) as { sequence: number } | undefined;
      const applied = row?.sequence ?? 0;
      if (sequence <= applied) {
        writeSequence.run(producer, applied, usedAtMs + PRODUCER_EXPIRY_MS);
        return [];
      }
      const fenced = this.#fencedSessions(batch, applied, usedAtMs);
      if (fenced.length > 0) return fenced;

      if (previous > 0 && applied !== previous) this.#statements.writeReverted.run();
      for (const device of devices) this.#addToDevice(device, receivedAtMs);
      for (const { session, epoch, to } of sessions) {
        writeSession.run(session, epoch, to, usedAtMs + SESSION_EXPIRY_MS);
      }
      writeSequence.run(producer, sequence, usedAtMs + PRODUCER_EXPIRY_MS);
      if (devices.length > 0) {
        this.#addToFleet(devices.reduce((sum, { packets }) => sum + packets, 0), receivedAtMs);
        this.#addChange(devices.map(({ deviceId }) => deviceId));
      }
      this.#cleanUp(receivedAtMs, usedAtMs);
      return [];
    });
  }

  /** As the second part of `apply.lua`. */
  #fencedSessions({ sessions, previous }: Batch, applied: number, usedAtMs: number): FencedSession[] {
    const { readSession, writeSession, writeReverted } = this.#statements;
    const isIntact = previous === 0 || applied === previous;
    const fenced: FencedSession[] = [];
    let wentBack = false;
    for (const { session, epoch, from } of sessions) {
      const known = readSession.get(session, usedAtMs) as SessionRow | undefined;
      if (known?.epoch === epoch && known.committed === from) continue;
      const kind = known !== undefined && known.epoch > epoch ? "superseded" : "reverted";
      fenced.push({ session, kind, committed: known?.committed ?? (isIntact ? from : 0) });
      if (known === undefined && isIntact && previous > 0) {
        writeSession.run(session, epoch, from, usedAtMs + SESSION_EXPIRY_MS);
      }
      wentBack ||= kind === "reverted" && (known !== undefined || !isIntact);
    }
    if (wentBack) writeReverted.run();
    return fenced;
  }

  scan(): AsyncGenerator<readonly DeviceSummary[]> {
    return pages((deviceId) => this.page(deviceId));
  }

  /** One page of {@linkcode scan}: the first one, or the one behind this device. */
  // deno-lint-ignore require-await -- a failure is a rejection, as the contract says
  async page(after?: string): Promise<readonly DeviceSummary[]> {
    const { firstSummaries, nextSummaries } = this.#statements;
    return this.#read(
      "read the devices from",
      () => this.#toSummaries(after === undefined ? firstSummaries.all() : nextSummaries.all(after)),
    );
  }

  // deno-lint-ignore require-await -- as above
  async summaries(deviceIds: readonly string[]): Promise<readonly DeviceSummary[]> {
    return this.#read(
      `read ${deviceIds.length} devices from`,
      () => this.#toSummaries(this.#statements.readSummaries.all(JSON.stringify(deviceIds))),
    );
  }

  // deno-lint-ignore require-await -- as above
  async changes(since?: number): Promise<Changes> {
    return this.#read("read what changed from", () => {
      const { readVersion, hasVersion, readChanges } = this.#statements;
      // One state: between two, changes could be trimmed that nobody was told.
      return oneState(this.#db, () => {
        const { version } = readVersion.get() as { version: number };
        if (since === version) return { version, devices: new Map() };
        if (since === undefined || hasVersion.get(since) === undefined) return { version, devices: "all" };
        const devices = new Map<string, undefined>();
        for (const { device_ids } of readChanges.all(since) as { device_ids: string }[]) {
          for (const deviceId of JSON.parse(device_ids) as string[]) devices.set(deviceId, undefined);
        }
        return { version, devices };
      });
    });
  }

  // deno-lint-ignore require-await -- as above
  async device(deviceId: string): Promise<DeviceState | undefined> {
    return this.#read(`read device ${deviceId} from`, () => {
      const row = this.#statements.readDevice.get(deviceId);
      if (row === undefined) return undefined;
      if (typeof row.count !== "number") {
        this.#foreign.found(deviceId, String(row.count));
        return undefined;
      }
      return { ...row as unknown as DeviceState, online: row.online === 1 };
    });
  }

  // deno-lint-ignore require-await -- as above
  async payloads(
    deviceIds: readonly string[],
    maxBytes: number,
  ): Promise<ReadonlyMap<string, PayloadPreview>> {
    return this.#read(
      `read the payloads of ${deviceIds.length} devices from`,
      () => toPreviews(this.#statements.readPayloads.all(maxBytes, JSON.stringify(deviceIds))),
    );
  }

  // deno-lint-ignore require-await -- as above
  async history(deviceId: string, nowMs: number): Promise<History | undefined> {
    return this.#read(`read the history of device ${deviceId} from`, () => {
      const row = this.#statements.readRecord.get(deviceId) as RecordRow | undefined;
      if (typeof row?.count !== "number") return undefined;
      return deviceHistory(row, endedPeriods(row), nowMs);
    });
  }

  // deno-lint-ignore require-await -- as above
  async fleetHistory(nowMs: number): Promise<FleetHistory> {
    return this.#read("read the fleet's history from", () => {
      const packets = new Map<string, number>();
      for (const row of this.#statements.readFleet.all() as unknown as FleetRow[]) {
        packets.set(`${row.period_ms} ${row.start_ms}`, row.packets);
      }
      return fleetHistory(nowMs, (periodMs, startMs) => packets.get(`${periodMs} ${startMs}`));
    });
  }

  // deno-lint-ignore require-await -- as above
  async removedPackets(): Promise<number> {
    return this.#read("read the packets of removed devices from", () => {
      const row = this.#statements.readRemoved.get() as { packets: number } | undefined;
      return row?.packets ?? 0;
    });
  }

  trimFleetHistory(untilMs: number): Promise<void> {
    return this.#write("trim the fleet's history in", () => {
      this.#statements.trimFleet.run(untilMs);
    });
  }

  remove(deviceId: string): Promise<boolean> {
    return this.#write(`remove device ${deviceId} from`, () => {
      this.#statements.addToRemoved.run(deviceId);
      if (this.#statements.removeDevice.run(deviceId).changes === 0) return false;
      this.#addChange([deviceId]);
      return true;
    });
  }

  markOffline(deviceIds: readonly string[], lastSeenBeforeMs: number, nowMs: number): Promise<number> {
    return this.#write(`mark ${deviceIds.length} devices offline in`, () => {
      const { readRecord, setOffline } = this.#statements;
      const changed = deviceIds.filter((deviceId) => {
        const row = readRecord.get(deviceId) as RecordRow | undefined;
        if (row === undefined || row.online === 0) return false;
        const isAhead = row.lastSeenMs > nowMs + CLOCK_AHEAD_MS; // written before the clock was set back
        if (row.lastSeenMs >= lastSeenBeforeMs && !isAhead) return false;
        setOffline.run(deviceId);
        this.#addEvent("offline", deviceId, nowMs, Math.min(row.lastSeenMs, nowMs));
        return true;
      });
      if (changed.length > 0) this.#addChange(changed);
      return changed.length;
    });
  }

  // deno-lint-ignore require-await -- as above
  async events(after: number | undefined, limit: number): Promise<readonly DeviceEvent[]> {
    const { readEvents, readNewestEvents } = this.#statements;
    return this.#read("read events from", () => {
      const rows = after === undefined ? readNewestEvents.all(limit) : readEvents.all(after, limit);
      return (rows as unknown as DeviceEvent[]).map((row) => ({ ...row }));
    });
  }

  claimDelivery(owner: string, ttlMs: number, nowMs: number): Promise<number | undefined> {
    return this.#write("claim the delivery of events in", () => {
      const row = this.#statements.claimDelivery.get(owner, nowMs + ttlMs, nowMs);
      return row && (row as { eventId: number }).eventId;
    });
  }

  commitDelivery(owner: string, eventId: number, nowMs: number): Promise<boolean> {
    return this.#write(
      "commit delivered events to",
      () => this.#statements.commitDelivery.run(eventId, owner, nowMs).changes === 1,
    );
  }

  reportInstance(report: InstanceReport): Promise<void> {
    return this.#write("report an instance to", () => {
      const { writeInstance, expireInstances } = this.#statements;
      writeInstance.run(report.instance, report.reportedMs, JSON.stringify(report));
      expireInstances.run(report.reportedMs, INSTANCE_EXPIRY_MS);
    });
  }

  removeInstance(instance: string): Promise<void> {
    return this.#write("remove an instance from", () => {
      this.#statements.removeInstance.run(instance);
    });
  }

  // deno-lint-ignore require-await -- as above
  async instances(nowMs: number): Promise<readonly InstanceReport[]> {
    return this.#read("read the instances from", () => {
      const rows = this.#statements.readInstances.all() as { report: string }[];
      return currentReports(rows.map(({ report }) => report), nowMs);
    });
  }

  // deno-lint-ignore require-await -- as above
  async close(): Promise<void> {
    if (this.#db.isOpen) this.#db.close();
  }

  /** One device of a batch; the same as `apply.lua` does. */
  #addToDevice({ deviceId, packets, timestampMs, payload }: DeviceDelta, receivedAtMs: number): void {
    const { readRecord, insertDevice, updateDevice } = this.#statements;
    const old = readRecord.get(deviceId) as RecordRow | undefined;
    if (old === undefined) {
      insertDevice.run(deviceId, packets, receivedAtMs, receivedAtMs, timestampMs, packets, packets, payload);
      return;
    }
    let { count } = old;
    if (typeof count === "string" || count + packets > Number.MAX_SAFE_INTEGER) {
      this.#statements.setAside.run(old.row);
      this.#foreign.setAside(deviceId, String(count), "table set_aside");
      count = 0;
    }
    const { lastSeenMs } = old;
    let { minutePackets, hourPackets, online, history } = old;
    // What lies ahead of the clock was written before that was set back.
    const isAhead = lastSeenMs > Math.max(receivedAtMs, Date.now()) + CLOCK_AHEAD_MS;
    if (receivedAtMs > lastSeenMs || isAhead) {
      if (online === 0) this.#addEvent("online", deviceId, receivedAtMs, Math.min(lastSeenMs, receivedAtMs));
      online = 1;
      if (startOf(MINUTE_MS, receivedAtMs) > startOf(MINUTE_MS, lastSeenMs)) {
        history = encodeHistory(endPeriods(endedPeriods(old), old, receivedAtMs));
        minutePackets = 0;
        if (startOf(HOUR_MS, receivedAtMs) > startOf(HOUR_MS, lastSeenMs)) hourPackets = 0;
      }
    }
    updateDevice.run(
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
  }

  #toSummaries(rows: readonly unknown[]): DeviceSummary[] {
    return toSummaries(rows, (deviceId, value) => this.#foreign.found(deviceId, value));
  }

  #addToFleet(packets: number, receivedAtMs: number): void {
    for (const [periodMs] of fleetPeriods) {
      this.#statements.addToFleet.run(periodMs, startOf(periodMs, receivedAtMs), packets);
    }
  }

  #addChange(deviceIds: readonly string[]): void {
    const json = JSON.stringify(deviceIds);
    const { endBytes } = this.#statements.addChange.get(json, json) as { endBytes: number };
    this.#statements.trimChanges.run(endBytes - CHANGES_MAX_BYTES);
  }

  #addEvent(kind: DeviceEvent["kind"], deviceId: string, atMs: number, lastSeenMs: number): void {
    const { lastInsertRowid } = this.#statements.addEvent.run(kind, deviceId, atMs, lastSeenMs);
    this.#statements.trimEvents.run(Number(lastInsertRowid) - EVENTS_KEPT);
  }

  #cleanUp(nowMs: number, usedAtMs: number): void {
    if (Math.abs(nowMs - this.#cleanedUpAtMs) < CLEAN_UP_INTERVAL_MS) return;
    this.#cleanedUpAtMs = nowMs;
    this.#statements.expireSessions.run(usedAtMs);
    this.#statements.expireProducers.run(usedAtMs);
    // Kept twice as long as they are shown, for clocks that differ.
    for (const [periodMs, shown] of fleetPeriods) {
      this.#statements.expireFleet.run(periodMs, nowMs - 2 * shown * periodMs);
    }
  }

  #read<T>(attempt: string, body: () => T): T {
    try {
      const result = body();
      this.#assertFilesInPlace();
      return result;
    } catch (error) {
      throw failure(attempt, this.#file, this.#closeIfLost() ?? error);
    }
  }

  async #write<T>(attempt: string, body: () => T): Promise<T> {
    try {
      const result = await transaction(this.#db, this.#lockTimeoutMs, body);
      // After the commit: what is reported as written was in the file that the path leads to.
      this.#assertFilesInPlace();
      return result;
    } catch (error) {
      throw failure(attempt, this.#file, this.#closeIfLost(true) ?? error);
    }
  }

  #assertFilesInPlace(): void {
    if (this.#openFiles.lost() !== undefined) throw new Error("it was deleted or replaced");
  }

  /** With `saveLog`, what is committed to a log that alone was deleted still gets into the file. */
  #closeIfLost(saveLog = false): Error | undefined {
    const lost = this.#db.isOpen ? this.#openFiles.lost() : undefined;
    if (lost === undefined) return;
    try {
      if (saveLog && lost !== this.#file) this.#db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    } catch {
      // Another connection has saved it, or it cannot be read any more.
    }
    this.#db.close();
    return new Error(`${lost} was deleted or replaced while it was open; the file is opened anew`);
  }
}

function startOf(periodMs: number, atMs: number): number {
  return atMs - atMs % periodMs;
}
