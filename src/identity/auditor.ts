/**
 * Who changed what: in the store's audit log, and as a line of the process's log.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import type { AuditStore } from "../store/audit.ts";

/** More targets of one change than these are one entry that has their number: thousands would displace all others. */
const MAX_ENTRIES = 20;

/** Characters of the details in such an entry. */
const MAX_DETAIL = 1_000;

/** What one change was done to. */
export interface AuditTarget {
  /** Id of a token or device. */
  readonly target: string;
  /** More about it, for people; may be empty. Never a token. */
  readonly detail: string;
}

/** What {@linkcode Auditor} needs. */
export interface AuditorOptions {
  /** Has the audit log. */
  readonly store: Pick<AuditStore, "appendAudit">;
  /** Unix milliseconds. */
  readonly now: () => number;
  /** Receives a line for each entry, also when the store cannot be reached. */
  readonly log: Logger;
}

/** Writes the audit log. */
export class Auditor {
  readonly #options: AuditorOptions;

  /** Writes nothing yet. */
  constructor(options: AuditorOptions) {
    this.#options = options;
  }

  /** Unix milliseconds, of the clock that stamps the entries. */
  now(): number {
    return this.#options.now();
  }

  /**
   * Records that `actor` did `action`, for example `token.add`, to the targets. Never rejects: the change is made, and
   * where the store fails now, the line of the log remains.
   */
  async record(actor: string, action: string, targets: readonly AuditTarget[]): Promise<void> {
    const { store, now, log } = this.#options;
    const atMs = now();
    const entries = inEntries(targets).map((entry) => ({ atMs, actor, action, ...entry }));
    for (const { target, detail } of entries) log.info("audit", { actor, action, target, detail });
    if (entries.length === 0) return;
    try {
      await store.appendAudit(entries);
    } catch (error) {
      log.error("Cannot store entries of the audit log: the lines before this one have them", { error });
    }
  }
}

function inEntries(targets: readonly AuditTarget[]): readonly AuditTarget[] {
  if (targets.length <= MAX_ENTRIES) return targets;
  const all = targets.map(({ target, detail }) => `${target} ${detail}`).join(", ");
  const detail = all.length > MAX_DETAIL ? `${all.slice(0, MAX_DETAIL)}…` : all;
  return [{ target: `${targets.length} of them`, detail }];
}
