/**
 * Claims of sessions within the limits of new ones.
 *
 * @module
 */
import type { Account } from "../../limits/accounts.ts";
import { RequestError } from "../../protocol/request_error.ts";
import type { Resendable, SessionClaim } from "../../store/packets.ts";
import type { IngestState } from "./ingest_state.ts";

/**
 * Claims a session for `account`; throws RESOURCE_EXHAUSTED when the session is new and there are too many. A session
 * that the store has is never refused, so that what was sent can be continued.
 */
export async function claimWithinLimits(
  { store, now, limits, counters }: IngestState,
  account: Account,
  claimed: {
    session: string;
    offset: number;
    continues: string | undefined;
    resendable: Resendable | undefined;
  },
): Promise<SessionClaim> {
  const { session, offset, continues, resendable } = claimed;
  const { newSessions } = account, maxSessions = limits.maxSessions || Number.MAX_SAFE_INTEGER;
  const mayCreate = newSessions?.take() ?? true;
  let isNew = false;
  try {
    const sessionLimits = { maxSessions, mayCreate };
    const optional = [continues, sessionLimits, undefined, resendable] as const;
    const claim = await store.claimSession(session, offset, now(), ...optional);
    if (claim.refused === undefined) {
      ({ isNew } = claim);
      return claim;
    }
    counters.sessionsRefused++;
    throw new RequestError(
      "RESOURCE_EXHAUSTED",
      claim.refused === "maxSessions"
        ? `the store has as many sessions as TALLY_MAX_SESSIONS (${maxSessions}) allows: try again later`
        : `${account.name} has begun as many sessions as TALLY_NEW_SESSIONS_PER_MINUTE (${newSessions?.capacity}) ` +
          "allows: continue one, or try again later",
    );
  } finally {
    if (mayCreate && !isNew) newSessions?.give(1);
  }
}
