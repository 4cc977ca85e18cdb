/**
 * Why a client lost its connection, or gave up for good.
 *
 * @module
 */
import { status, type StatusObject } from "@grpc/grpc-js";

import { messageOf } from "../runtime/error_text.ts";

/** Passed to `onDisconnected`; the pending calls of a client that has failed for good reject with it. */
export class TelemetryClientError extends Error {
  /** Identifies it where `instanceof` cannot. */
  override readonly name = "TelemetryClientError";
  /** gRPC's status, such as `UNAVAILABLE`, if the error came with one. */
  readonly code: string | undefined;

  /** `message`: what was attempted, what was found, what to do. */
  constructor(message: string, code?: string) {
    super(message);
    this.code = code;
  }
}

/** Statuses of requests that fail again when they are repeated. */
const FINAL_STATUSES: ReadonlySet<status> = new Set([
  status.INVALID_ARGUMENT,
  status.FAILED_PRECONDITION,
  status.UNIMPLEMENTED,
  status.UNAUTHENTICATED,
  status.PERMISSION_DENIED,
]);

/** Whether another attempt would fail in the same way. */
export function isFinal({ code }: StatusObject): boolean {
  return FINAL_STATUSES.has(code);
}

/** A call to `target` ended, with any status, before the client ended it. */
export function callEnded(target: string, { code, details }: StatusObject): TelemetryClientError {
  const reason = details.replace(/\. Resolution note: .*$/, ""); // added by grpc-js, and mostly empty
  return new TelemetryClientError(
    `the stream to ${target} ended: ${status[code]}${reason && `: ${reason}`}`,
    status[code],
  );
}

/** What would be sent from there on is not kept, although the server was sent what is. */
export function committedTooLow(committed: number): TelemetryClientError {
  return new TelemetryClientError(
    `Cannot go back to packet ${committed} of the session: it is not kept; found a server, or a proxy, that does not ` +
      "keep to the protocol",
  );
}

/** A journal cannot be written. */
export function fileFailed(error: unknown): TelemetryClientError {
  return new TelemetryClientError(
    `Cannot write packets to the file: found ${messageOf(error)}; check its disk`,
  );
}

/** Two clients use one session: the packets of one would count as those of the other. */
export function sessionShared(session: string): TelemetryClientError {
  return new TelemetryClientError(
    `another client uses session ${session}: stop one of them, or give each a session of its own`,
    status[status.ABORTED],
  );
}
