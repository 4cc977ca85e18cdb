/**
 * Why a client lost its connection, or gave up for good.
 *
 * @module
 */
import { status, type StatusObject } from "@grpc/grpc-js";

/** Given to `onDisconnected`, and to what waits for a client that has failed for good. */
export class TelemetryClientError extends Error {
  /** Tells it from other errors where `instanceof` cannot. */
  override readonly name = "TelemetryClientError";
  /** gRPC's status, such as `UNAVAILABLE`, if the error came with one. */
  readonly code: string | undefined;

  /** `message` says what was attempted, what was found and what to do. */
  constructor(message: string, code?: string) {
    super(message);
    this.code = code;
  }
}

/** Statuses after which another attempt would end the same way. */
const FINAL_STATUSES: ReadonlySet<status> = new Set([
  status.INVALID_ARGUMENT,
  status.FAILED_PRECONDITION,
  status.UNIMPLEMENTED,
  status.UNAUTHENTICATED,
  status.PERMISSION_DENIED,
]);

/** Whether another attempt would end the same way. */
export function isFinal({ code }: StatusObject): boolean {
  return FINAL_STATUSES.has(code);
}

/** A call to `target` ended, well or not, before the client wanted it. */
export function callEnded(target: string, { code, details }: StatusObject): TelemetryClientError {
  const reason = details.replace(/\. Resolution note: .*$/, ""); // of grpc-js, and mostly empty
  return new TelemetryClientError(
    `the stream to ${target} ended: ${status[code]}${reason && `: ${reason}`}`,
    status[code],
  );
}

/** Two clients work on one session, and would take each other's packets for their own. */
export function sessionShared(session: string): TelemetryClientError {
  return new TelemetryClientError(
    `another client uses session ${session}: stop one of them, or give each a session of its own`,
    status[status.ABORTED],
  );
}
