/**
 * Reports of ingest processes in a SQLite file.
 *
 * @module
 */
import { INSTANCE_EXPIRY_MS, type InstanceRegistry } from "../instances.ts";
import { currentReports } from "../model/current_reports.ts";
import type { Database } from "./database.ts";

/** Reports as JSON. */
export function sqliteInstances(database: Database): InstanceRegistry {
  const statements = database.prepare({
    write: "INSERT OR REPLACE INTO instances VALUES (?, ?, ?)",
    expire: "DELETE FROM instances WHERE abs(reported_ms - ?) > ?",
    remove: "DELETE FROM instances WHERE instance = ?",
    read: "SELECT report FROM instances",
  });
  return {
    reportInstance: (report) =>
      database.write("report an instance to", () => {
        statements.write.run(report.instance, report.reportedMs, JSON.stringify(report));
        statements.expire.run(report.reportedMs, INSTANCE_EXPIRY_MS);
      }),

    removeInstance: (instance) =>
      database.write("remove an instance from", () => void statements.remove.run(instance)),

    instances: (nowMs) =>
      database.read("read the instances from", () => {
        const rows = statements.read.all() as { report: string }[];
        return currentReports(rows.map(({ report }) => report), nowMs);
      }),
  };
}
