/**
 * Sessions and producers in a SQLite file, in the caller's transaction. Rows unused for long expire.
 *
 * @module
 */
import {
  type Batch,
  type FencedSession,
  NEW_SESSION_EXPIRY_MS,
  PRODUCER_EXPIRY_MS,
  type Resendable,
  SESSION_EXPIRY_MS,
  type SessionClaim,
  type SessionLimits,
} from "../packets.ts";
import type { Database } from "./database.ts";
import { ExpiryClock } from "./expiry_clock.ts";
import { unixNowMs } from "./migrations.ts";

interface SessionRow {
  readonly epoch: number;
  readonly committed: number;
  /** By which it is deleted; {@linkcode EARLIER_MS} before that, if nothing of it is stored. */
  readonly expiresAtMs: number;
  /** 1: a batch has advanced it. 0: none has. */
  readonly stored: number;
}

/** Arguments of {@linkcode PacketStore.claimSession}. */
export interface Claim {
  /** As its client named it, or as its owner's. */
  readonly session: string;
  /** Index of the stream's first packet. */
  readonly offset: number;
  /** The session that it continues if it is unknown. */
  readonly continues: string | undefined;
  /** Default: none. */
  readonly limits: SessionLimits | undefined;
  /** The epoch that it gets; undefined: the next one. */
  readonly given: number | undefined;
  /** What its client can send again. */
  readonly resendable: Resendable | undefined;
}

/** What is kept of a producer. */
export interface ProducerRow {
  /** Sequence of its batch that was applied last; 0: none, or it has expired. */
  readonly sequence: number;
  /** The limit that refused devices of that batch, and their indexes in it; empty: none. */
  readonly refused: string;
}

interface LineageRow {
  /** When the data began, or was last found reverted. */
  readonly sinceMs: number;
  /** By SQLite's clock too. */
  readonly nowMs: number;
}

/** Expired rows of a table that are deleted at a time. */
const EXPIRE_ROWS = 1000;

/** The times of rows are those of an ingest's clock, epochs are SQLite's: they differ by less. */
const CLOCKS_DIFFER_MS = 1000;

/** How much earlier a session expires of which nothing is stored. */
const EARLIER_MS = SESSION_EXPIRY_MS - NEW_SESSION_EXPIRY_MS;

/** Epochs and offsets of sessions, sequences of producers. Times: `usedAtMs` is of {@linkcode Sessions.usedAt}. */
export class Sessions {
  readonly #statements;
  readonly #expiry: ExpiryClock;

  /** Prepares the statements. */
  constructor(database: Database) {
    this.#statements = database.prepare({
      readSession: `
        SELECT epoch, committed, expires_at_ms AS expiresAtMs, stored FROM sessions
        WHERE session = ? AND expires_at_ms > ? + iif(stored, 0, ${EARLIER_MS})`,
      // Not INSERT OR REPLACE, which deletes without the trigger that counts.
      writeSession: `
        INSERT INTO sessions VALUES (?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET epoch = excluded.epoch, committed = excluded.committed,
          expires_at_ms = excluded.expires_at_ms, stored = excluded.stored`,
      readSequence: "SELECT sequence, refused FROM producers WHERE producer = ? AND expires_at_ms > ?",
      writeSequence: "INSERT OR REPLACE INTO producers VALUES (?, ?, ?, ?)",
      readTotal: "SELECT sessions FROM totals",
      readLineage: `SELECT since_ms AS sinceMs, ${unixNowMs} AS nowMs FROM lineage`,
      writeReverted: `UPDATE lineage SET since_ms = ${unixNowMs}`,
      readNewestExpiry: `
        SELECT max(expires_at_ms) AS newestExpiryMs FROM (
          SELECT max(expires_at_ms) AS expires_at_ms FROM sessions
          UNION ALL SELECT max(expires_at_ms) FROM producers)`,
      expireSessions: expireRows("sessions", "expires_at_ms <= ?"),
      expireNewSessions: expireRows("sessions", `stored = 0 AND expires_at_ms <= ? + ${EARLIER_MS}`),
      expireProducers: expireRows("producers", "expires_at_ms <= ?"),
    });
    this.#expiry = new ExpiryClock(() => this.#newestUseMs());
  }

  /** When the newest row was used; undefined: there is none. */
  #newestUseMs(): number | undefined {
    const { newestExpiryMs } = this.#statements.readNewestExpiry.get() as { newestExpiryMs: number | null };
    return newestExpiryMs === null ? undefined : newestExpiryMs - SESSION_EXPIRY_MS;
  }

  /** The time by which rows that are used at `nowMs` expire. */
  usedAt(nowMs: number): number {
    return this.#expiry.at(nowMs);
  }

  /** As {@linkcode PacketStore.claimSession}. */
  claim(
    { session, offset, continues, limits, given, resendable }: Claim,
    usedAtMs: number,
  ): SessionClaim {
    const { readLineage, writeReverted } = this.#statements;
    const own = this.#read(session, usedAtMs), isNew = own === undefined;
    const refused = own !== undefined
      ? given !== undefined && own.epoch > given ? "epoch" : undefined
      : limits && this.#refusal(limits, usedAtMs);
    if (refused !== undefined) return { epoch: 0, committed: 0, lost: 0, isNew, refused };
    const continued = isNew && continues !== undefined ? this.#read(continues, usedAtMs) : undefined;
    const known = own ?? continued;
    if (known !== undefined && known.committed < offset) writeReverted.run();
    const lineage = readLineage.get() as unknown as LineageRow;
    const isLost = known === undefined && this.#isLost(resendable, lineage);
    const start = known !== undefined || isLost ? resendable?.oldest ?? offset : offset;
    const committed = Math.max(known?.committed ?? 0, start);
    // It may have expired.
    const mayHaveExpired = known === undefined && !isLost &&
      lineage.nowMs - lineage.sinceMs >= SESSION_EXPIRY_MS;
    const lost = mayHaveExpired ? 0 : committed - (known?.committed ?? 0);
    // No epoch is used twice, not even by a file that was replaced by an older one.
    const epoch = given ?? Math.max((known?.epoch ?? 0) + 1, lineage.nowMs);
    this.#writeClaimed(session, epoch, committed, own, usedAtMs);
    if (continued !== undefined) {
      this.#writeClaimed(continues!, epoch, continued.committed, continued, usedAtMs);
    }
    return { epoch, committed, lost, isNew };
  }

  /** As `isLost()` of `claim.lua`. */
  #isLost(resendable: Resendable | undefined, { sinceMs, nowMs }: LineageRow): boolean {
    if (resendable === undefined || nowMs - resendable.epoch >= SESSION_EXPIRY_MS) return false;
    if (sinceMs > resendable.epoch) return true;
    if (resendable.seesAllBatches === false) return false;
    const usedMs = this.#newestUseMs();
    const isOlder = usedMs !== undefined && usedMs < resendable.epoch - CLOCKS_DIFFER_MS;
    if (isOlder) this.writeReverted();
    return isOlder;
  }

  /** As long as nothing is stored of a session, no further claim makes it live longer. */
  #writeClaimed(
    session: string,
    epoch: number,
    committed: number,
    known: SessionRow | undefined,
    usedAtMs: number,
  ): void {
    if (known?.stored === 1) return this.write(session, epoch, committed, usedAtMs);
    const expiresAtMs = known?.expiresAtMs ?? usedAtMs + SESSION_EXPIRY_MS;
    this.#statements.writeSession.run(session, epoch, committed, expiresAtMs, 0);
  }

  #read(session: string, usedAtMs: number): SessionRow | undefined {
    return this.#statements.readSession.get(session, usedAtMs) as SessionRow | undefined;
  }

  #refusal({ maxSessions, mayCreate }: SessionLimits, usedAtMs: number): SessionClaim["refused"] {
    if (!mayCreate) return "mayCreate";
    if (this.#total < maxSessions) return undefined;
    this.expire(usedAtMs);
    return this.#total < maxSessions ? undefined : "maxSessions";
  }

  get #total(): number {
    return (this.#statements.readTotal.get() as { sessions: number }).sessions;
  }

  /** Sets epoch and offset of a session of which something is stored. */
  write(session: string, epoch: number, committed: number, usedAtMs: number): void {
    this.#statements.writeSession.run(session, epoch, committed, usedAtMs + SESSION_EXPIRY_MS, 1);
  }

  /** What is kept of a producer. */
  producer(producer: string, usedAtMs: number): ProducerRow {
    const row = this.#statements.readSequence.get(producer, usedAtMs) as ProducerRow | undefined;
    return row ?? { sequence: 0, refused: "" };
  }

  /** Sets it. */
  writeProducer(producer: string, { sequence, refused }: ProducerRow, usedAtMs: number): void {
    this.#statements.writeSequence.run(producer, sequence, usedAtMs + PRODUCER_EXPIRY_MS, refused);
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
    this.#statements.expireNewSessions.run(usedAtMs);
    this.#statements.expireProducers.run(usedAtMs);
  }
}

function expireRows(table: string, expired: string): string {
  return `DELETE FROM ${table} WHERE rowid IN
    (SELECT rowid FROM ${table} WHERE ${expired} LIMIT ${EXPIRE_ROWS})`;
}
