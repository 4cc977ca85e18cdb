/**
 * What the initial metadata of a call has about its session, on either path.
 *
 * @module
 */
import { CLAIM_KEY, COMMITTED_KEY, LOST_KEY, MAX_MESSAGE_KEY } from "../../protocol/metadata_keys.ts";
import type { ClaimedSession } from "../stream/call_response.ts";

/** Keys and values. */
export function claimedFields(
  { committed, lost, claim }: ClaimedSession,
  maxMessageBytes: number,
): (readonly [string, string])[] {
  const fields: (readonly [string, string])[] = [
    [COMMITTED_KEY, String(committed)],
    [MAX_MESSAGE_KEY, String(maxMessageBytes)],
  ];
  if (lost > 0) fields.push([LOST_KEY, String(lost)]);
  if (claim !== undefined) fields.push([CLAIM_KEY, claim]);
  return fields;
}
