/**
 * The list of changed devices in a SQLite file.
 *
 * @module
 */
import { type Changes, CHANGES_MAX_BYTES } from "../devices.ts";
import type { Database } from "./database.ts";
import { unixNowMs } from "./migrations.ts";

/** Entries of ids, by version. */
export interface ChangeList {
  /** Adds an entry, in the caller's transaction. */
  add(deviceIds: readonly string[]): void;
  /** As {@linkcode DeviceStore.changes}; without the devices' summaries. */
  since(version: number | undefined): Promise<Changes>;
}

/** The list in one of the tables of `database`. */
export function sqliteChanges(
  database: Database,
  table: "changes" | "label_changes" = "changes",
): ChangeList {
  const statements = database.prepare({
    // A version is the time in microseconds, or one more than the last: a file that was replaced by an older one
    // never uses one twice.
    add: `
      INSERT INTO ${table}
      SELECT max(coalesce(max(version), 0) + 1, 1000 * ${unixNowMs}), ?,
        coalesce(max(end_bytes), 0) + length(?) + 32
      FROM ${table}
      RETURNING end_bytes AS endBytes`,
    trim: `DELETE FROM ${table} WHERE end_bytes <= ?`,
    readVersion: `SELECT coalesce(max(version), 0) AS version FROM ${table}`,
    // Version 0 was before the first entry, which is the one whose end is its length.
    hasVersion: `
      SELECT 1 FROM ${table} WHERE version = ?1
      UNION ALL SELECT 1 FROM ${table} WHERE ?1 = 0 AND end_bytes = length(device_ids) + 32`,
    readSince: `SELECT device_ids FROM ${table} WHERE version > ? ORDER BY version`,
  });

  return {
    add(deviceIds) {
      const json = JSON.stringify(deviceIds);
      const { endBytes } = statements.add.get(json, json) as { endBytes: number };
      statements.trim.run(endBytes - CHANGES_MAX_BYTES);
    },

    since: (since) =>
      // One snapshot: between two statements, changes could be trimmed that were not read.
      database.readSnapshot<Changes>("read what changed from", () => {
        const { version } = statements.readVersion.get() as { version: number };
        if (since === version) return { version, devices: new Map() };
        if (since === undefined || statements.hasVersion.get(since) === undefined) {
          return { version, devices: "all" };
        }
        const devices = new Map<string, undefined>();
        for (const { device_ids } of statements.readSince.all(since) as { device_ids: string }[]) {
          for (const deviceId of JSON.parse(device_ids) as string[]) devices.set(deviceId, undefined);
        }
        return { version, devices };
      }),
  };
}
