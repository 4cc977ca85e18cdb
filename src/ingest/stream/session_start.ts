/**
 * Where a stream begins in its session, as the metadata of its call states it.
 *
 * @module
 */
import { isSessionName, SESSION_NAME_RULE } from "../../protocol/field_limits.ts";
import { OFFSET_KEY, SESSION_KEY } from "../../protocol/metadata_keys.ts";
import { RequestError } from "../../protocol/request_error.ts";
import type { CallMetadata } from "./call_context.ts";

/** Where a stream begins. */
export interface SessionStart {
  /** The `telemetry-session`, if there is one. */
  readonly session: string | undefined;
  /** Index in the session of the stream's first packet; 0 without a session. */
  readonly offset: number;
}

/** Reads the metadata; throws INVALID_ARGUMENT. */
export function parseSessionStart({ session, offset }: CallMetadata): SessionStart {
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
  if (offset !== undefined && (!/^[0-9]{1,16}$/.test(offset) || !Number.isSafeInteger(Number(offset)))) {
    throw new RequestError("INVALID_ARGUMENT", `${OFFSET_KEY} is not a whole number from 0 to 2^53 - 1`);
  }
  return { session, offset: Number(offset ?? 0) };
}
