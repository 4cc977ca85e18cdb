/**
 * What can go wrong, and what a caller is told: the one place that maps errors to gRPC and HTTP status.
 *
 * @module
 */
import { status } from "@grpc/grpc-js";

import { StoreError } from "../store/store_error.ts";

/** What kind of failure it is; the names are gRPC's. */
export type ErrorCode =
  | "INVALID_ARGUMENT"
  | "PERMISSION_DENIED"
  | "NOT_FOUND"
  | "FAILED_PRECONDITION"
  | "ABORTED"
  | "RESOURCE_EXHAUSTED"
  | "DEADLINE_EXCEEDED"
  | "UNIMPLEMENTED"
  | "INTERNAL"
  | "UNAVAILABLE";

/** A failure whose message is meant for the caller: what was attempted, what was found, what to do. */
export class RequestError extends Error {
  /** Tells it from other errors. */
  override readonly name = "RequestError";
  /** `message` is shown to the caller. */
  constructor(readonly code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

const httpStatuses = {
  INVALID_ARGUMENT: 400,
  PERMISSION_DENIED: 403,
  NOT_FOUND: 404,
  FAILED_PRECONDITION: 409,
  ABORTED: 409,
  RESOURCE_EXHAUSTED: 429,
  DEADLINE_EXCEEDED: 504,
  UNIMPLEMENTED: 501,
  INTERNAL: 500,
  UNAVAILABLE: 503,
} as const satisfies Record<ErrorCode, number>;

/** The gRPC status code and message a device is given. Unforeseen errors show nothing of the inside. */
export function grpcStatus(error: unknown): { code: status; details: string } {
  if (error instanceof RequestError) return { code: status[error.code], details: error.message };
  if (error instanceof StoreError) return { code: status.UNAVAILABLE, details: storeUnavailable };
  return { code: status.INTERNAL, details: "internal error; the server's log has more" };
}

/** The HTTP status and message a reader is given. */
export function httpStatus(
  error: unknown,
): { status: 400 | 403 | 404 | 409 | 429 | 500 | 501 | 503 | 504; message: string } {
  if (error instanceof RequestError) return { status: httpStatuses[error.code], message: error.message };
  if (error instanceof StoreError) return { status: 503, message: storeUnavailable };
  return { status: 500, message: "internal error; the server's log has more" };
}

const storeUnavailable = "the store is unreachable: try again";
