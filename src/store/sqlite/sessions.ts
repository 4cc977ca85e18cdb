/**
 * Sessions and producers in a SQLite file, in the caller's transaction. Rows unused for long expire.
 *
 * @module
 */
import {
  type Batch,
  type FencedSession,
  PRODUCER_EXPIRY_MS,
  SESSION_EXPIRY_MS,
  type SessionClaim,
} from "../packets.ts";
import type { Database } from "./database.ts";
import { ExpiryClock } from "./expiry_clock.ts";
import { unixNowMs } from "./migrations.ts";

interface SessionRow {
  readonly epoch: number;
  readonly committed: number;
}

interface LineageRow {
  /** When the data began, or was last found reverted. */
  readonly sinceMs: number;
  /** By SQLite's clock too. */
  readonly nowMs: number;
}

/** Expired rows of a table that are deleted at a time. */
const EXPIRE_ROWS = 1000;

/** Epochs and offsets of sessions, sequences of producers. Times: `usedAtMs` is of {@linkcode Sessions.usedAt}. */
export class Sessions {
  readonly #statements;
  readonly #expiry: ExpiryClock;

  /** Prepares the statements. */
  constructor(database: Database) {
    const statements = this.#statements = database.prepare({
      readSession: "SELECT epoch, committed FROM sessions WHERE session = ? AND expires_at_ms > ?",
      writeSession: "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?)",
      readSequence: "SELECT sequence FROM producers WHERE producer = ? AND expires_at_ms > ?",
      writeSequence: "INSERT OR REPLACE INTO producers VALUES (?, ?, ?)",
      readLineage: `SELECT since_ms AS sinceMs, ${unixNowMs} AS nowMs FROM lineage`,
      writeReverted: `UPDATE lineage SET since_ms = ${unixNowMs}`,
      readNewestExpiry: `
        SELECT max(expires_at_ms) AS newestExpiryMs FROM (
          SELECT max(expires_at_ms) AS expires_at_ms FROM sessions
          UNION ALL SELECT max(expires_at_ms) FROM producers)`,
      expireSessions: expireRows("sessions"),
      expireProducers: expireRows("producers"),
    });
    this.#expiry = new ExpiryClock(() => {
      const { newestExpiryMs } = statements.readNewestExpiry.get() as { newestExpiryMs: number | null };
      return newestExpiryMs === null ? undefined : newestExpiryMs - SESSION_EXPIRY_MS;
    });
  }

  /** The time by which rows that are used at `nowMs` expire. */
  usedAt(nowMs: number): number {
    return this.#expiry.at(nowMs);
  }

  /** As {@linkcode PacketStore.claimSession}. */
  claim(session: string, offset: number, usedAtMs: number, continues?: string): SessionClaim {
    const { readLineage, writeReverted } = this.#statements;
    const own = this.#read(session, usedAtMs);
    const continued = own === undefined && continues !== undefined
      ? this.#read(continues, usedAtMs)
      : undefined;
    const known = own ?? continued;
    const committed = Math.max(known?.committed ?? 0, offset);
    let lost = committed - (known?.committed ?? 0);
    if (known !== undefined && lost > 0) writeReverted.run();
    const lineage = readLineage.get() as unknown as LineageRow;
    // It may have expired.
    if (known === undefined && lineage.nowMs - lineage.sinceMs >= SESSION_EXPIRY_MS) lost = 0;
    // No epoch is used twice, not even by a file that was replaced by an older one.
    const epoch = Math.max((known?.epoch ?? 0) + 1, lineage.nowMs);
    this.write(session, epoch, committed, usedAtMs);
    if (continued !== undefined) this.write(continues!, epoch, continued.committed, usedAtMs);
    return { epoch, committed, lost };
  }

  #read(session: string, usedAtMs: number): SessionRow | undefined {
    return this.#statements.readSession.get(session, usedAtMs) as SessionRow | undefined;
  }

  /** Sets a session's epoch and offset. */
  write(session: string, epoch: number, committed: number, usedAtMs: number): void {
    this.#statements.writeSession.run(session, epoch, committed, usedAtMs + SESSION_EXPIRY_MS);
  }

  /** Sequence of the producer's batch that was applied last; 0: none, or it has expired. */
  sequence(producer: string, usedAtMs: number): number {
    const row = this.#statements.readSequence.get(producer, usedAtMs) as { sequence: number } | undefined;
    return row?.sequence ?? 0;
  }

  /** Sets it. */
  writeSequence(producer: string, sequence: number, usedAtMs: number): void {
    this.#statements.writeSequence.run(producer, sequence, usedAtMs + PRODUCER_EXPIRY_MS);
  }

  /** Notes that the file was reverted to an earlier state. */
  writeReverted(): void {
    this.#statements.writeReverted.run();
  }

  /** Sessions of a batch that are not where their streams left them; as `checkSessions()` of `apply.lua`. */
  fenced({ sessions, previous }: Batch, applied: number, usedAtMs: number): FencedSession[] {
    const isIntact = previous === 0 || applied === previous;
    const fenced: FencedSession[] = [];
    let isReverted = false;
    for (const { session, epoch, from } of sessions) {
      const known = this.#read(session, usedAtMs);
      if (known?.epoch === epoch && known.committed === from) continue;
      const kind = known !== undefined && known.epoch > epoch ? "superseded" : "reverted";
      fenced.push({ session, kind, committed: known?.committed ?? (isIntact ? from : 0) });
      if (known === undefined && isIntact && previous > 0) this.write(session, epoch, from, usedAtMs);
      isReverted ||= kind === "reverted" && (known !== undefined || !isIntact);
    }
    if (isReverted) this.writeReverted();
    return fenced;
  }

  /** Deletes some of the rows that have expired. */
  expire(usedAtMs: number): void {
    this.#statements.expireSessions.run(usedAtMs);
    this.#statements.expireProducers.run(usedAtMs);
  }
}

function expireRows(table: string): string {
  return `DELETE FROM ${table} WHERE rowid IN
    (SELECT rowid FROM ${table} WHERE expires_at_ms <= ? LIMIT ${EXPIRE_ROWS})`;
}
