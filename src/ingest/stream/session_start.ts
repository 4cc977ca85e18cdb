/**
 * Where a stream begins in its session, as the metadata of its call states it.
 *
 * @module
 */
import { isSessionName, SESSION_NAME_RULE } from "../../protocol/field_limits.ts";
import { CLAIM_KEY, OFFSET_KEY, OLDEST_KEY, SESSION_KEY } from "../../protocol/metadata_keys.ts";
import { RequestError } from "../../protocol/request_error.ts";
import type { CallMetadata } from "./call_context.ts";
import { CLAIM_RULE, isClaimText } from "./claim_text.ts";

/** Where a stream begins. */
export interface SessionStart {
  /** The `telemetry-session`, if there is one. */
  readonly session: string | undefined;
  /** Index in the session of the stream's first packet, unless the session is found below it; 0 without a session. */
  readonly offset: number;
  /** Of a device that keeps acknowledged packets. */
  readonly kept?: KeptPackets;
}

/** What a device keeps that was acknowledged. */
export interface KeptPackets {
  /** Index in the session of the oldest packet; not above the offset. */
  readonly oldest: number;
  /** Of the latest call with an Ack, as `claimText()` made it; undefined: there was none. */
  readonly claim: string | undefined;
}

/** Reads the metadata; throws INVALID_ARGUMENT. */
export function parseSessionStart({ session, offset, oldest, claim }: CallMetadata): SessionStart {
  if (session === undefined) {
    if (offset === undefined) return { session, offset: 0 };
    throw new RequestError("INVALID_ARGUMENT", `${OFFSET_KEY} without ${SESSION_KEY}: send both or neither`);
  }
  if (!isSessionName(session)) {
    throw new RequestError(
      "INVALID_ARGUMENT",
      `${SESSION_KEY} has ${session.length} characters or others than printable ASCII: use ${SESSION_NAME_RULE}`,
    );
  }
  const start = { session, offset: offset === undefined ? 0 : index(OFFSET_KEY, offset) };
  if (oldest === undefined) return start;
  const kept = { oldest: index(OLDEST_KEY, oldest), claim };
  if (kept.oldest > start.offset) {
    throw new RequestError("INVALID_ARGUMENT", `${OLDEST_KEY} is above ${OFFSET_KEY}: state at most that`);
  }
  if (claim !== undefined && !isClaimText(claim)) {
    throw new RequestError("INVALID_ARGUMENT", `${CLAIM_KEY} is not ${CLAIM_RULE}`);
  }
  return { ...start, kept };
}

function index(key: string, text: string): number {
  if (/^[0-9]{1,16}$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text);
  throw new RequestError("INVALID_ARGUMENT", `${key} is not a whole number from 0 to 2^53 - 1`);
}
