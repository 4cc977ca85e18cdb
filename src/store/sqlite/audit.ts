/**
 * The audit log in a SQLite file.
 *
 * @module
 */
import { AUDIT_KEPT, type AuditStore, type StoredAuditEntry } from "../audit.ts";
import type { Database } from "./database.ts";

/** A table of its own. */
export function sqliteAudit(database: Database): AuditStore {
  const statements = database.prepare({
    last: "SELECT coalesce(max(id), 0) AS id FROM audit",
    append: "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?)",
    trim: "DELETE FROM audit WHERE id <= ?",
    read: `SELECT id, at_ms AS atMs, actor, action, target, detail
      FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?`,
  });
  return {
    appendAudit: (entries) =>
      database.write("append to the audit log of", () => {
        let { id } = statements.last.get() as { id: number };
        for (const { atMs, actor, action, target, detail } of entries) {
          statements.append.run(++id, atMs, actor, action, target, detail);
        }
        statements.trim.run(id - AUDIT_KEPT);
      }),

    audit: (before, limit) =>
      database.read(
        "read the audit log of",
        () =>
          (statements.read.all(before ?? Number.MAX_SAFE_INTEGER, limit) as unknown as StoredAuditEntry[])
            .map((entry) => ({ ...entry })),
      ),
  };
}
