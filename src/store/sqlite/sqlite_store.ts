/**
 * Counts in a SQLite file that several processes may share. `threads.ts` runs it off the event loop.
 *
 * @module
 */
import { resolve } from "node:path";

import { payloadDecoder, type PayloadOptions } from "../../payload/payload_decoder.ts";
import { ForeignCounts, type WarningLog } from "../model/foreign_counts.ts";
import { noValues } from "../model/no_values.ts";
import type { PendingDelta } from "../model/pending_deltas.ts";
import type { FoldOptions } from "../model/sample_fold.ts";
import { type AckAfter, DEFER_FROM, type DeferredAmount } from "../packets.ts";
import type { Store } from "../store.ts";
import { sqliteAlerts } from "./alerts.ts";
import { sqliteAudit } from "./audit.ts";
import { type ChangeList, sqliteChanges } from "./changes.ts";
import { sqliteCredentials } from "./credentials.ts";
import { DeferredPackets } from "./deferred_packets.ts";
import { Database } from "./database.ts";
import {
  describeFile,
  failure,
  openAlone,
  openFile,
  retryWhileLocked,
  transaction,
  tuning,
  writeApplicationId,
} from "./database_file.ts";
import { type DevicePages, sqliteDevices } from "./devices.ts";
import { DeviceWriter } from "./device_writer.ts";
import { sqliteEvents } from "./events.ts";
import { sqliteHistories } from "./histories.ts";
import { sqliteInstances } from "./instances.ts";
import { type LabelPages, sqliteLabels } from "./labels.ts";
import { LogTables } from "./log_tables.ts";
import { migrate } from "./migrations.ts";
import { sqlitePacketStream } from "./packet_stream.ts";
import { sqlitePackets } from "./packets.ts";
import { lagSql } from "./records.ts";
import { SampleFolder } from "./sample_folder.ts";
import type { MergeParts } from "./segment_log.ts";
import { sqliteValues, type ValueTables, valueTables } from "./values.ts";

/** Where the file is, and how it is used. */
export interface SqliteStoreOptions {
  /** Made if it is missing, with its folder. */
  readonly path: string;
  /** `replicated` is refused: a file has no replicas. */
  readonly ackAfter: AckAfter;
  /** How long a method waits for another process's transaction before it rejects; 1,000 by default. */
  readonly lockTimeoutMs?: number;
  /** Receives a warning for counts of another program that are none. */
  readonly log?: WarningLog;
  /** Devices of a batch from which on its packets are counted later; 0: never. {@linkcode DEFER_FROM} by default. */
  readonly deferFrom?: number;
  /** Devices of a part of what is counted later, a transaction each; {@linkcode PART_DEVICES} by default. */
  readonly partDevices?: number;
  /** After so long without a change, what another process left is counted here; {@linkcode ABANDONED_MS} by default. */
  readonly abandonedMs?: number;
  /** Receives how much is not counted yet, whenever that changes. */
  readonly onDeferred?: (amount: DeferredAmount) => void;
  /** How payloads are decoded; undefined: values are not kept. */
  readonly values?: PayloadOptions | undefined;
}

/** For these the file is locked for some 6 ms. */
const PART_DEVICES = 2000;

/** A process that runs changes its log several times a second. */
const ABANDONED_MS = 15_000;

/** How long a store that closes goes on counting what was deferred. */
const CLOSE_TIMEOUT_MS = 10_000;

/** A store that works on the thread that calls it. */
export interface SqliteStore extends Store, DevicePages, LabelPages {
  /**
   * False once it was closed, or found that its file was deleted, replaced, or upgraded by a newer Tally: open
   * another store then.
   */
  readonly isOpen: boolean;
}

/**
 * A store in the SQLite file at `path`; a file of an older schema version is upgraded. Its methods do their work on
 * the thread that calls them: `threads.ts` has the same without that.
 *
 * @throws {StoreError} The file cannot be opened or made, holds another program's database or tables of a newer
 * schema version, or `ackAfter` requires replicas.
 */
export async function openSqliteStore(
  options: SqliteStoreOptions,
): Promise<SqliteStore> {
  const { path, ackAfter, lockTimeoutMs = 1000, values } = options;
  const file = resolve(path);
  if (ackAfter.kind === "replicated") {
    const reason =
      'acknowledging after replication needs Redis: choose "stored" or "synced", or configure Redis';
    throw failure("open", file, new Error(reason));
  }
  const decode = values && await payloadDecoder(values);
  const fold = values && decode && { decode, maxNames: values.maxNames };
  return await openAlone(file, lockTimeoutMs, () => openStore(file, lockTimeoutMs, options, fold));
}

async function openStore(
  file: string,
  lockTimeoutMs: number,
  options: SqliteStoreOptions,
  fold: FoldOptions | undefined,
): Promise<SqliteStore> {
  const opened = openFile(file), { db } = opened;
  try {
    // In WAL mode NORMAL survives the end of the process; FULL, one sync per commit, a power cut too.
    const synchronous = options.ackAfter.kind === "synced" ? "FULL" : "NORMAL";
    await retryWhileLocked(
      db,
      lockTimeoutMs,
      () => db.exec("PRAGMA journal_mode = WAL"),
      () => db.exec(`PRAGMA synchronous = ${synchronous}`),
    );
    db.exec(tuning);
    await transaction(db, lockTimeoutMs, () => {
      migrate(db);
      db.exec(writeApplicationId);
    });
    return storeIn(new Database(opened, file, lockTimeoutMs), options, fold);
  } catch (error) {
    db.close();
    throw error;
  }
}

/** The store in an open file that has the tables. */
export function storeIn(
  database: Database,
  options: Omit<SqliteStoreOptions, "path" | "ackAfter">,
  fold?: FoldOptions,
): SqliteStore {
  const foreign = new ForeignCounts(database.file, options.log ?? { warn() {} });
  const changes = sqliteChanges(database);
  const { removeLabels, ...labels } = sqliteLabels(database);
  const { fleetPeriods, ...histories } = sqliteHistories(database);
  const { addEvent, ...events } = sqliteEvents(database, changes);
  const values = valueTables(database, fold !== undefined);
  const folder = fold && new SampleFolder(database, values, fold);
  const writer = new DeviceWriter(database, { addEvent, foreign });
  const { addRemoved, ...devices } = sqliteDevices(database, { changes, foreign, removeLabels, values });
  const { readLag } = database.prepare({ readLag: `SELECT ${lagSql("?")} AS lagMs` });
  const deferred = deferredPackets({ database, writer, changes, addRemoved, values }, options);
  return {
    description: describeFile(database.file),
    ...sqlitePackets(database, { changes, writer, fleetPeriods, deferred, values }),
    ...devices,
    ...labels,
    ...sqlitePacketStream(database),
    ...histories,
    ...fold === undefined ? noValues : sqliteValues(database),
    ...events,
    ...sqliteInstances(database),
    ...sqliteCredentials(database),
    ...sqliteAudit(database),
    ...sqliteAlerts(database),
    async ping() {
      await database.probe();
      deferred.adopt();
      folder?.start();
    },
    status: () =>
      database.read("read how late counts are in", () => ({
        // All processes that share the file run on this machine.
        ...{ clockMs: undefined, evictionPolicy: undefined },
        countsLateMs: Number(readLag.get(Date.now())!["lagMs"]),
      })),
    get isOpen() {
      return database.isOpen;
    },
    async close() {
      await deferred.close(database.isOpen ? CLOSE_TIMEOUT_MS : 0);
      if (database.isOpen) await folder?.close();
      database.close();
    },
  };
}

/** What merging a log writes. */
interface MergeWriters {
  readonly database: Database;
  readonly writer: DeviceWriter;
  readonly changes: ChangeList;
  /** Counts packets as those of removed devices. */
  readonly addRemoved: (packets: number) => void;
  readonly values: ValueTables;
}

function deferredPackets(
  { database, writer, changes, addRemoved, values }: MergeWriters,
  { deferFrom = DEFER_FROM, partDevices = PART_DEVICES, abandonedMs = ABANDONED_MS, onDeferred = () => {} }:
    Omit<
      SqliteStoreOptions,
      "path" | "ackAfter"
    >,
): DeferredPackets {
  const mergeDeltas: MergeParts["mergeDeltas"] = (deltas, rows) => {
    let removed = 0, seenMs = 0;
    const ids: string[] = [], merged: PendingDelta[] = [];
    for (const [i, delta] of deltas.entries()) {
      const { deviceId } = delta;
      // A device that is missing was removed after its packets were acknowledged: they count as removed with it.
      const row = writer.add(delta, deviceId, delta.seenMs, rows[i]!, () => false);
      if (row === 0) {
        removed += delta.packets;
        continue;
      }
      ids.push(deviceId);
      merged.push(delta);
      seenMs = Math.max(seenMs, delta.seenMs);
    }
    if (removed > 0) addRemoved(removed);
    if (merged.length === 0) return;
    changes.add(ids);
    // All of them are of one minute.
    values.append(merged, seenMs);
  };
  const parts = { database, tables: new LogTables(database), mergeDeltas, partDevices };
  return new DeferredPackets(parts, { from: deferFrom, abandonedMs, onAmount: onDeferred });
}
