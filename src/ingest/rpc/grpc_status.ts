/**
 * Errors → gRPC status.
 *
 * @module
 */
import { status } from "@grpc/grpc-js";

import { INTERNAL_ERROR, RequestError, STORE_UNREACHABLE } from "../../protocol/request_error.ts";
import { StoreError } from "../../store/store_error.ts";

/** The status code and message sent to a device. Only the message of a {@linkcode RequestError} is sent as it is. */
export function grpcStatus(error: unknown): { code: status; details: string } {
  if (error instanceof RequestError) return { code: status[error.code], details: error.message };
  if (error instanceof StoreError) return { code: status.UNAVAILABLE, details: STORE_UNREACHABLE };
  return { code: status.INTERNAL, details: INTERNAL_ERROR };
}
