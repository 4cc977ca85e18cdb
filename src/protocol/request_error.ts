/**
 * Failures of a request, independent of the transport that reports them: `src/ingest/rpc/grpc_status.ts` maps them
 * to gRPC status, `src/api/http/http_status.ts` to HTTP status.
 *
 * @module
 */

/** The kind of failure; the names are gRPC's. */
export type ErrorCode =
  | "INVALID_ARGUMENT"
  | "UNAUTHENTICATED"
  | "PERMISSION_DENIED"
  | "NOT_FOUND"
  | "FAILED_PRECONDITION"
  | "ABORTED"
  | "RESOURCE_EXHAUSTED"
  | "DEADLINE_EXCEEDED"
  | "UNIMPLEMENTED"
  | "INTERNAL"
  | "UNAVAILABLE";

/** A failure whose message is sent to the caller: what was attempted, what was found, what to do. */
export class RequestError extends Error {
  /** Distinguishes it from other errors. */
  override readonly name = "RequestError";
  /** `message` is sent to the caller. */
  constructor(readonly code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** Sent to the caller in place of a store's error, which may name internal addresses. */
export const STORE_UNREACHABLE = "the store is unreachable: try again";

/** Sent to the caller in place of an unexpected error, which may hold internal details. */
export const INTERNAL_ERROR = "internal error; the server's log has more";
