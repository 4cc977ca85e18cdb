/**
 * Why the credentials of a call are refused.
 *
 * @module
 */
import { RequestError } from "../protocol/request_error.ts";

/** What is counted of refused credentials: names of reasons in the metrics. */
export const AUTH_FAILURES = [
  "missing",
  "unknown",
  "expired",
  "revoked",
  "wrong_certificate",
  "jwt_invalid",
] as const;
/** One of {@linkcode AUTH_FAILURES}. */
export type AuthFailure = typeof AUTH_FAILURES[number];

/** The caller learns no more than that: which part is wrong would help to guess the rest. */
const MISSING_OR_WRONG =
  "credentials are missing or wrong: send those that the operator of this Tally gave you";

/** Messages of what the caller may learn: that credentials were good once. */
const messages: Partial<Record<AuthFailure, string>> = {
  expired: "credentials have expired: connect again with new ones",
  revoked: "credentials were revoked: get new ones from the operator of this Tally",
};

/** UNAUTHENTICATED. */
export class AuthError extends RequestError {
  /** `failure` is for the metrics and the log; not all of it is sent to the caller. */
  constructor(readonly failure: AuthFailure) {
    super("UNAUTHENTICATED", messages[failure] ?? MISSING_OR_WRONG);
  }
}
