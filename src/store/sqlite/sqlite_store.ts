/**
 * Counts in a SQLite file that several processes may share. `threads.ts` runs it off the event loop.
 *
 * @module
 */
import { resolve } from "node:path";

import { payloadDecoder, type PayloadOptions } from "../../payload/payload_decoder.ts";
import { ForeignCounts, type WarningLog } from "../model/foreign_counts.ts";
import { noValues } from "../model/no_values.ts";
import type { FoldOptions } from "../model/sample_fold.ts";
import type { AckAfter } from "../packets.ts";
import type { Store } from "../store.ts";
import { sqliteAlerts } from "./alerts.ts";
import { sqliteAudit } from "./audit.ts";
import { sqliteChanges } from "./changes.ts";
import { sqliteCredentials } from "./credentials.ts";
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
import { sqliteEvents } from "./events.ts";
import { sqliteHistories } from "./histories.ts";
import { sqliteInstances } from "./instances.ts";
import { type LabelPages, sqliteLabels } from "./labels.ts";
import { migrate } from "./migrations.ts";
import { sqlitePacketStream } from "./packet_stream.ts";
import { sqlitePackets } from "./packets.ts";
import { SampleFolder } from "./sample_folder.ts";
import { sqliteValues, valueTables } from "./values.ts";

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
  /** How payloads are decoded; undefined: values are not kept. */
  readonly values?: PayloadOptions | undefined;
}

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
  { path, ackAfter, lockTimeoutMs = 1000, log = { warn() {} }, values }: SqliteStoreOptions,
): Promise<SqliteStore> {
  const file = resolve(path);
  if (ackAfter.kind === "replicated") {
    const reason =
      'acknowledging after replication needs Redis: choose "stored" or "synced", or configure Redis';
    throw failure("open", file, new Error(reason));
  }
  const decode = values && await payloadDecoder(values);
  const fold = values && decode && { decode, maxNames: values.maxNames };
  return await openAlone(file, lockTimeoutMs, () => openStore(file, ackAfter, lockTimeoutMs, log, fold));
}

async function openStore(
  file: string,
  ackAfter: AckAfter,
  lockTimeoutMs: number,
  log: WarningLog,
  fold: FoldOptions | undefined,
): Promise<SqliteStore> {
  const opened = openFile(file), { db } = opened;
  try {
    // In WAL mode NORMAL survives the end of the process; FULL, one sync per commit, a power cut too.
    const synchronous = ackAfter.kind === "synced" ? "FULL" : "NORMAL";
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
    return storeIn(new Database(opened, file, lockTimeoutMs), log, fold);
  } catch (error) {
    db.close();
    throw error;
  }
}

function storeIn(database: Database, log: WarningLog, fold: FoldOptions | undefined): SqliteStore {
  const foreign = new ForeignCounts(database.file, log);
  const changes = sqliteChanges(database);
  const { removeLabels, ...labels } = sqliteLabels(database);
  const { fleetPeriods, ...histories } = sqliteHistories(database);
  const { addEvent, ...events } = sqliteEvents(database, changes);
  const valueTable = valueTables(database, fold !== undefined);
  const folder = fold && new SampleFolder(database, valueTable, fold);
  return {
    description: describeFile(database.file),
    ...sqlitePackets(database, { changes, addEvent, fleetPeriods, foreign, values: valueTable }),
    ...sqliteDevices(database, { changes, foreign, removeLabels, values: valueTable }),
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
      folder?.start();
    },
    // All processes that share the file run on this machine.
    status: () => Promise.resolve({ clockMs: undefined, evictionPolicy: undefined }),
    get isOpen() {
      return database.isOpen;
    },
    async close() {
      if (database.isOpen) await folder?.close();
      database.close();
    },
  };
}
