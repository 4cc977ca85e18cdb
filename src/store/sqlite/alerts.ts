/**
 * Rules, mutes, and the state of alerts in a SQLite file.
 *
 * @module
 */
import {
  type AlertDocument,
  type AlertDocumentsStored,
  type AlertDocumentStore,
  type AlertStateStore,
  type AlertStore,
  MAX_ALERT_DOCUMENTS,
} from "../alerts.ts";
import type { Database } from "./database.ts";
import { LEASE_MAX_MS } from "./events.ts";
import { unixNowMs } from "./migrations.ts";

const next = (column: string) => `UPDATE alerts SET ${column} = max(${column} + 1, 1000 * ${unixNowMs})`;

const queries = {
  versions: "SELECT documents_version AS documents, state_version AS state FROM alerts",
  changeDocuments: next("documents_version"),
  changeState: next("state_version"),
  documents: "SELECT kind, id, version, body FROM alert_documents ORDER BY kind DESC, id",
  document: "SELECT version FROM alert_documents WHERE kind = ? AND id = ?",
  count: "SELECT count(*) AS documents FROM alert_documents WHERE kind = ?",
  put: "INSERT OR REPLACE INTO alert_documents VALUES (?, ?, ?, ?)",
  remove: "DELETE FROM alert_documents WHERE kind = ? AND id = ?",
  claim: `UPDATE alerts SET owner = ?1, expires_at_ms = ?2
    WHERE owner = ?1 OR expires_at_ms NOT BETWEEN ?3 + 1 AND ?3 + ${LEASE_MAX_MS}`,
  owns: "SELECT 1 FROM alerts WHERE owner = ? AND expires_at_ms > ?",
  entries: "SELECT field, body FROM alert_state WHERE section = ?",
  entry: "SELECT body FROM alert_state WHERE section = ? AND field = ?",
  putEntry: "INSERT OR REPLACE INTO alert_state VALUES (?, ?, ?)",
  removeEntry: "DELETE FROM alert_state WHERE section = ? AND field = ?",
};

/** Two tables, and one row with the versions and the lease. */
export function sqliteAlerts(database: Database): AlertStore {
  const statements = prepared(database);
  return { ...documentStore(database, statements), ...stateStore(database, statements) };
}

type Statements = ReturnType<typeof prepared>;

const prepared = (database: Database) => database.prepare(queries);

function versionsOf(statements: Statements): { documents: number; state: number } {
  return statements.versions.get() as { documents: number; state: number };
}

function documentStore(database: Database, statements: Statements): AlertDocumentStore {
  const put = (documents: Parameters<AlertStore["putAlertDocuments"]>[0]): AlertDocumentsStored => {
    const stored = documents.map(({ kind, id }) =>
      (statements.document.get(kind, id) as { version: number } | undefined)?.version ?? 0
    );
    const added = new Map<string, number>();
    for (const [i, { kind, id, expected }] of documents.entries()) {
      if (expected !== undefined && expected !== stored[i]) return { refused: "conflict", id };
      if (stored[i] !== 0) continue;
      const count = added.get(kind) ?? (statements.count.get(kind) as { documents: number }).documents;
      if (count >= MAX_ALERT_DOCUMENTS[kind]) return { refused: "full", id };
      added.set(kind, count + 1);
    }
    for (const [i, { kind, id, body }] of documents.entries()) {
      statements.put.run(kind, id, stored[i]! + 1, body);
    }
    if (documents.length > 0) statements.changeDocuments.run();
    return { versions: stored.map((version) => version + 1) };
  };

  return {
    alertDocuments: (since) =>
      database.readSnapshot("read the rules of alerts from", () => {
        const version = String(versionsOf(statements).documents);
        if (version === since) return undefined;
        const documents = statements.documents.all() as unknown as AlertDocument[];
        return { version, documents: documents.map((document) => ({ ...document })) };
      }),

    putAlertDocuments: (documents) => database.write("store rules of alerts in", () => put(documents)),

    removeAlertDocuments: (kind, ids) =>
      database.write("remove rules of alerts from", () => {
        const removed = ids.filter((id) => statements.remove.run(kind, id).changes > 0);
        if (removed.length > 0) statements.changeDocuments.run();
        return removed;
      }),
  };
}

function stateStore(database: Database, statements: Statements): AlertStateStore {
  return {
    claimAlerts: (owner, ttlMs, nowMs) =>
      database.write(
        "claim the alerts in",
        () =>
          statements.claim.run(owner, nowMs + ttlMs, nowMs).changes === 1
            ? String(versionsOf(statements).state)
            : undefined,
      ),

    alertState: (section, since) =>
      database.readSnapshot("read the state of alerts from", () => {
        const version = String(versionsOf(statements).state);
        if (version === since) return undefined;
        const rows = statements.entries.all(section) as { field: string; body: string }[];
        return { version, entries: new Map(rows.map(({ field, body }) => [field, body])) };
      }),

    alertEntry: (section, field) =>
      database.read(
        "read the state of alerts from",
        () => (statements.entry.get(section, field) as { body: string } | undefined)?.body,
      ),

    writeAlertState: (owner, changes, nowMs) =>
      database.write("write the state of alerts to", () => {
        if (statements.owns.get(owner, nowMs) === undefined) return undefined;
        for (const { section, field, body } of changes) {
          if (body === undefined) statements.removeEntry.run(section, field);
          else statements.putEntry.run(section, field, body);
        }
        statements.changeState.run();
        return String(versionsOf(statements).state);
      }),
  };
}
