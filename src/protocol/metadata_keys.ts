/**
 * Metadata entries that make a stream part of a session; `proto/telemetry.proto` describes them.
 *
 * @module
 */

/** Request: name of the session. */
export const SESSION_KEY = "telemetry-session";

/** Request: index, in the session, of the stream's first packet; 0 without it. */
export const OFFSET_KEY = "telemetry-offset";

/** Request: index, in the session, of the oldest packet that the device can send again; not above the offset. */
export const OLDEST_KEY = "telemetry-oldest";

/** Response to a request with {@linkcode OLDEST_KEY}, and request: the last claim under which an Ack came. */
export const CLAIM_KEY = "telemetry-claim";

/** Response: acknowledged packets of the session that the store no longer holds, and that are not sent again. */
export const LOST_KEY = "telemetry-lost";

/** Response, and trailers of a call that ends early: packets of the session that are settled. */
export const COMMITTED_KEY = "telemetry-committed";

/** Response: the largest message that the server accepts, in bytes. */
export const MAX_MESSAGE_KEY = "telemetry-max-message";
