/**
 * Tokens in a SQLite file.
 *
 * @module
 */
import type { CredentialStore, TokenKind, TokenRecord } from "../credentials.ts";
import type { Database } from "./database.ts";
import { unixNowMs } from "./migrations.ts";

interface Row extends Omit<TokenRecord, "scopes"> {
  readonly scopes: string;
}

const columns = `id, kind, hash, subject, scopes, created_ms AS createdMs, created_by AS createdBy,
  last_used_ms AS lastUsedMs`;

/** A table of their own. */
export function sqliteCredentials(database: Database): CredentialStore {
  const statements = database.prepare({
    add: `INSERT INTO tokens (id, kind, hash, subject, scopes, created_ms, created_by, last_used_ms)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    byHash: `SELECT ${columns} FROM tokens WHERE hash = ?`,
    page: `SELECT ${columns} FROM tokens WHERE kind = ? AND id > ? ORDER BY id LIMIT ?`,
    revoke: `DELETE FROM tokens WHERE id = ? RETURNING ${columns}`,
    use: "UPDATE tokens SET last_used_ms = ? WHERE hash = ?",
    change: `UPDATE tokens_version SET version = max(version + 1, 1000 * ${unixNowMs})`,
    version: "SELECT version FROM tokens_version",
  });
  return {
    addTokens: (tokens) =>
      database.write("add tokens to", () => {
        for (const { id, kind, hash, subject, scopes, createdMs, createdBy, lastUsedMs } of tokens) {
          statements.add.run(id, kind, hash, subject, scopes.join(" "), createdMs, createdBy, lastUsedMs);
        }
        if (tokens.length > 0) statements.change.run();
      }),

    tokensByHash: (hashes) =>
      database.read("look up tokens in", () => {
        const rows = hashes.map((hash) => statements.byHash.get(hash)).filter((row) => row !== undefined);
        return new Map((rows as unknown as Row[]).map((row) => [row.hash, recordOf(row)]));
      }),

    tokens: (kind: TokenKind, after, limit) =>
      database.read(
        "list the tokens of",
        () => (statements.page.all(kind, after, limit) as unknown as Row[]).map(recordOf),
      ),

    revokeTokens: (ids) =>
      database.write("revoke tokens of", () => {
        const rows = ids.flatMap((id) => statements.revoke.all(id)) as unknown as Row[];
        if (rows.length > 0) statements.change.run();
        return rows.map(recordOf);
      }),

    markTokensUsed: (usedMs) =>
      database.write("mark tokens as used in", () => {
        for (const [hash, atMs] of usedMs) statements.use.run(atMs, hash);
      }),

    credentialsVersion: () =>
      database.read("read the version of the tokens of", () => {
        const { version } = statements.version.get() as { version: number };
        return String(version);
      }),
  };
}

function recordOf({ scopes, ...row }: Row): TokenRecord {
  return { ...row, scopes: scopes === "" ? [] : scopes.split(" ") };
}
