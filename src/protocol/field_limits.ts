/**
 * Limits of the fields that a device sends, as `proto/telemetry.proto` states them.
 *
 * @module
 */

/** Longest `device_id`, in bytes of UTF-8. */
export const MAX_DEVICE_ID_BYTES = 128;

/** Completes "use …", for messages about a name of a session that is not allowed. */
export const SESSION_NAME_RULE = "1 to 128 printable ASCII characters without spaces";

/** Whether `name` can be a session's; see {@linkcode SESSION_NAME_RULE}. */
export function isSessionName(name: string): boolean {
  return /^[\x21-\x7e]{1,128}$/.test(name);
}
