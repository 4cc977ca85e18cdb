/**
 * Responses to failed requests: problem details (RFC 9457), with the member `error` besides, which held the message
 * before there were others.
 *
 * @module
 */
import type { Problem } from "../schemas/problem.ts";
import { httpStatus } from "./http_status.ts";
import { prefersPlainJson } from "./negotiate.ts";

/** Statuses of failed requests. */
export type ProblemStatus = ReturnType<typeof httpStatus>["status"] | 405 | 411 | 413 | 415;

/** Reason phrases of RFC 9110: the title of a problem of the type `about:blank`. */
const titles: Readonly<Record<ProblemStatus, string>> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  409: "Conflict",
  411: "Length Required",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  429: "Too Many Requests",
  500: "Internal Server Error",
  501: "Not Implemented",
  503: "Service Unavailable",
  504: "Gateway Timeout",
};

/** What the response depends on of the request. */
export type FailedRequest = Pick<Request, "url" | "headers">;

/** The response to a request that failed with `error`; `request`: undefined if it is not known. */
export function errorResponse(request: FailedRequest | undefined, error: unknown): Response {
  const { status, message } = httpStatus(error);
  return problemResponse(request, status, message, status === 503 ? { "Retry-After": "1" } : {});
}

/**
 * A problem of the type `about:blank`: the status is its kind; `detail`: what was attempted, what was found and what
 * to do. A client that accepts `application/json` only gets the same body under that media type.
 */
export function problemResponse(
  request: FailedRequest | undefined,
  status: ProblemStatus,
  detail: string,
  headers: Readonly<Record<string, string>> = {},
): Response {
  const path = request && URL.parse(request.url)?.pathname;
  const problem: Problem = {
    type: "about:blank",
    title: titles[status],
    status,
    detail,
    ...path === undefined ? {} : { instance: path },
    error: detail,
  };
  const isPlain = prefersPlainJson(request?.headers.get("Accept") ?? undefined);
  const contentType = isPlain ? "application/json" : "application/problem+json";
  return Response.json(problem, {
    status,
    headers: { "Cache-Control": "no-store", "Content-Type": contentType, ...headers },
  });
}
