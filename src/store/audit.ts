/**
 * Who changed what: tokens that were added or revoked, devices that were removed.
 *
 * @module
 */

/** One change. */
export interface AuditEntry {
  /** When, Unix milliseconds. */
  readonly atMs: number;
  /** Who: the name of a reader's token, "command line", or "anonymous". */
  readonly actor: string;
  /** What was done, for example `token.add`, `token.revoke`, `device.remove`. */
  readonly action: string;
  /** What it was done to: the id of a token or device. */
  readonly target: string;
  /** More about it, for people; may be empty. */
  readonly detail: string;
}

/** An entry as it is stored. */
export interface StoredAuditEntry extends AuditEntry {
  /** One more than that of the entry before. */
  readonly id: number;
}

/** Appends to the audit log and reads it. */
export interface AuditStore {
  /** Appends these, in order; the newest {@linkcode AUDIT_KEPT} entries are kept. */
  appendAudit(entries: readonly AuditEntry[]): Promise<void>;

  /** Up to `limit` entries with ids below `before` (undefined: the newest), newest first. */
  audit(before: number | undefined, limit: number): Promise<readonly StoredAuditEntry[]>;
}

/** Entries kept; older ones are dropped. */
export const AUDIT_KEPT = 10_000;
