/**
 * Errors → HTTP status.
 *
 * @module
 */
import {
  type ErrorCode,
  INTERNAL_ERROR,
  RequestError,
  STORE_UNREACHABLE,
} from "../../protocol/request_error.ts";
import { StoreError } from "../../store/store_error.ts";

/** As the gRPC gateway maps them, except FAILED_PRECONDITION, which is a conflict with the state of a resource here. */
const httpStatuses = {
  INVALID_ARGUMENT: 400,
  UNAUTHENTICATED: 401,
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

/** The status code and message sent to a reader. Only the message of a {@linkcode RequestError} is sent as it is. */
export function httpStatus(
  error: unknown,
): { status: 400 | 401 | 403 | 404 | 409 | 429 | 500 | 501 | 503 | 504; message: string } {
  if (error instanceof RequestError) return { status: httpStatuses[error.code], message: error.message };
  if (error instanceof StoreError) return { status: httpStatuses.UNAVAILABLE, message: STORE_UNREACHABLE };
  return { status: httpStatuses.INTERNAL, message: INTERNAL_ERROR };
}
