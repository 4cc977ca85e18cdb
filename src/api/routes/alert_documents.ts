/**
 * What the routes of rules, mutes and acknowledgements share: they are stored as documents.
 *
 * @module
 */
import type { Auditor } from "../../identity/auditor.ts";
import { RequestError } from "../../protocol/request_error.ts";
import type { AlertDocumentChange, AlertStore } from "../../store/alerts.ts";

/** What changing documents needs. */
export interface DocumentsOptions {
  /** Where they are stored. */
  readonly store: Pick<AlertStore, "putAlertDocuments" | "removeAlertDocuments">;
  /** Records who changed what. */
  readonly auditor: Auditor;
}

/** Stores documents, or throws {@linkcode RequestError} that states why not. */
export async function putDocuments(
  { store }: { readonly store: Pick<AlertStore, "putAlertDocuments"> },
  documents: readonly AlertDocumentChange[],
): Promise<void> {
  const outcome = await store.putAlertDocuments(documents);
  if ("versions" in outcome) return;
  const { kind } = documents[0]!;
  throw new RequestError(
    "FAILED_PRECONDITION",
    outcome.refused === "full"
      ? `Cannot add the ${kind}: found as many as are allowed; remove others first`
      : `Cannot change the ${kind} ${outcome.id}: found another version than expected; read it again`,
  );
}

/** Removes a document for `actor`; throws {@linkcode RequestError} where there is none. */
export async function removeDocument(
  { store, auditor }: DocumentsOptions,
  kind: "rule" | "mute",
  id: string,
  actor: string,
): Promise<void> {
  const removed = await store.removeAlertDocuments(kind, [id]);
  if (removed.length === 0) throw unknownDocument(kind, id);
  await auditor.record(actor, `${kind}.remove`, [{ target: id, detail: "" }]);
}

/** There is no such document. */
export function unknownDocument(kind: string, id: string): RequestError {
  return new RequestError("NOT_FOUND", `there is no ${kind} ${JSON.stringify(id)}`);
}
