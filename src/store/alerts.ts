/**
 * What is kept of alerts: what people set (rules, mutes, acknowledgements), and the state that one process at a time
 * keeps of them. Bodies are JSON that the store does not look into.
 *
 * @module
 */

/** What people set. */
export type AlertDocumentKind = "rule" | "mute" | "acknowledgement";

/** Documents of each kind, at most. */
export const MAX_ALERT_DOCUMENTS: Readonly<Record<AlertDocumentKind, number>> = {
  rule: 100,
  mute: 100,
  acknowledgement: 2_000,
};

/** One rule, mute, or acknowledgement of an incident. */
export interface AlertDocument {
  /** What it is. */
  readonly kind: AlertDocumentKind;
  /** Unique among those of its kind. */
  readonly id: string;
  /** 1 when it was added; one more with each change. */
  readonly version: number;
  /** JSON. */
  readonly body: string;
}

/** What is to be stored of a document. */
export interface AlertDocumentChange extends Omit<AlertDocument, "version"> {
  /** The version that it must have in the store, 0: it must not be there; undefined: any. */
  readonly expected?: number | undefined;
}

/** What became of changes: all are stored, or none for the reason named, with the document that it concerns. */
export type AlertDocumentsStored =
  | { readonly versions: readonly number[] }
  | { readonly refused: "conflict" | "full"; readonly id: string };

/** `incidents`: id → incident. `memory`: whatever else the process that evaluates rules has to find again. */
export type AlertSection = "incidents" | "memory";

/** One entry of the state; `body` undefined: it is removed. */
export interface AlertStateChange {
  /** Where it is. */
  readonly section: AlertSection;
  /** Its name there. */
  readonly field: string;
  /** JSON. */
  readonly body: string | undefined;
}

/** Keeps rules, mutes and acknowledgements. */
export interface AlertDocumentStore {
  /** All documents, with a text that is another after each change of one; undefined: it is still `since`. */
  alertDocuments(
    since?: string,
  ): Promise<{ readonly version: string; readonly documents: readonly AlertDocument[] } | undefined>;

  /** Stores documents, at most {@linkcode MAX_ALERT_DOCUMENTS} of each kind, all in one step or none. */
  putAlertDocuments(documents: readonly AlertDocumentChange[]): Promise<AlertDocumentsStored>;

  /** Removes documents of these ids; resolves to those that existed. */
  removeAlertDocuments(kind: AlertDocumentKind, ids: readonly string[]): Promise<readonly string[]>;
}

/** Keeps incidents, for the one process that evaluates rules. */
export interface AlertStateStore {
  /**
   * Makes `owner` the only one to write the state for `ttlMs` from now on, or renews its lease. Resolves to the version
   * of the state, or undefined while another owner holds the lease.
   */
  claimAlerts(owner: string, ttlMs: number, nowMs: number): Promise<string | undefined>;

  /** A section of the state and the version of the whole; undefined: the version is still `since`. */
  alertState(
    section: AlertSection,
    since?: string,
  ): Promise<{ readonly version: string; readonly entries: ReadonlyMap<string, string> } | undefined>;

  /** One entry of the state. */
  alertEntry(section: AlertSection, field: string): Promise<string | undefined>;

  /**
   * Writes the changes in one step; resolves to the new version of the state. Undefined, and nothing is written, when
   * `owner` does not hold the lease any more.
   */
  writeAlertState(
    owner: string,
    changes: readonly AlertStateChange[],
    nowMs: number,
  ): Promise<string | undefined>;
}

/** Both. */
export interface AlertStore extends AlertDocumentStore, AlertStateStore {}
