/**
 * The text that stands for a claim of a session, for a device that keeps acknowledged packets: it states the text of its
 * last claim with an Ack, so that the store can distinguish a session that it lost from one that expired, and from the
 * session of the same name that other credentials have.
 *
 * @module
 */
import { createHash } from "node:crypto";

/** What a claim's text is, in error messages. */
export const CLAIM_RULE = "what Tally sent with an earlier call";

/** The epoch, and of a session that has an owner its hash. `owned`: the name in the store of `session`. */
export function claimText(epoch: number, session: string, owned: string): string {
  return `${epoch}${ownerPart(session, owned)}`;
}

/** The epoch of a text; undefined if it is of another owner's session, or there is none. */
export function claimedEpoch(text: string | undefined, session: string, owned: string): number | undefined {
  const end = /^\d+/.exec(text ?? "")?.[0].length;
  if (text === undefined || end === undefined || text.slice(end) !== ownerPart(session, owned)) {
    return undefined;
  }
  return Number(text.slice(0, end));
}

/** Whether it may be a claim's text. */
export function isClaimText(text: string): boolean {
  return /^\d{1,16}(\.[\w-]{22})?$/.test(text) && Number.isSafeInteger(Number.parseInt(text));
}

function ownerPart(session: string, owned: string): string {
  if (owned === session) return "";
  return `.${createHash("sha256").update(owned).digest("base64url").slice(0, 22)}`;
}
