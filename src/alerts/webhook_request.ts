/**
 * One attempt to deliver to another server, and its outcome; to a webhook, signed by Standard Webhooks.
 *
 * @module
 */
import { createHmac } from "node:crypto";

import type { Clock } from "../runtime/clock.ts";
import { messageOf } from "../runtime/error_text.ts";

/** Where events are delivered. */
export interface Webhook {
  /** An http or https URL. */
  readonly url: string;
  /** The key that bodies are signed with. */
  readonly secret: Uint8Array;
}

/** What became of an attempt. */
export type Outcome =
  /** The receiver has it. */
  | { readonly kind: "accepted" }
  /** The receiver refuses this body; it may accept others. */
  | { readonly kind: "refused"; readonly reason: string }
  /** 410: nothing more is to be delivered. */
  | { readonly kind: "gone" }
  /** It may succeed later; not before `retryAfterMs`, if the receiver states that. */
  | { readonly kind: "failed"; readonly reason: string; readonly retryAfterMs: number };

/** An attempt may take this long. */
const ATTEMPT_TIMEOUT_MS = 10_000;

/** What a receiver may state as `Retry-After`, at most. */
export const MAX_RETRY_AFTER_MS = 3_600_000;

/** Statuses from 400 to 499 that concern the receiver, or its address, and not the body. */
const RECEIVER_STATUSES: ReadonlySet<number> = new Set([
  401,
  402,
  403,
  404,
  405,
  407,
  408,
  421,
  423,
  425,
  429,
]);

/** Posts `body` under `id`; rejects only when `signal` is aborted. */
export function post(
  webhook: Webhook,
  message: { readonly id: string; readonly body: string },
  clock: Clock,
  signal: AbortSignal,
): Promise<Outcome> {
  return postJson(signedRequest(webhook, message, clock), clock, signal);
}

/** JSON for another server. */
export interface JsonRequest {
  /** Where it goes, without credentials. */
  readonly url: string;
  /** Besides the content type. */
  readonly headers: Readonly<Record<string, string>>;
  /** JSON. */
  readonly body: string;
}

/** The request of a webhook, signed. */
export function signedRequest(
  { url, secret }: Webhook,
  { id, body }: { readonly id: string; readonly body: string },
  clock: Clock,
): JsonRequest {
  const timestamp = Math.floor(clock.unixMs() / 1_000);
  const signature = createHmac("sha256", secret).update(`${id}.${timestamp}.${body}`).digest("base64");
  const headers = {
    "webhook-id": id,
    "webhook-timestamp": String(timestamp),
    "webhook-signature": `v1,${signature}`,
  };
  return { url, headers, body };
}

/** Posts it; rejects only when `signal` is aborted. */
export async function postJson(
  { url, headers, body }: JsonRequest,
  clock: Clock,
  signal: AbortSignal,
): Promise<Outcome> {
  const timeout = AbortSignal.timeout(ATTEMPT_TIMEOUT_MS);
  try {
    const response = await fetch(url, {
      method: "POST",
      body,
      headers: { "content-type": "application/json", ...headers },
      // A redirect could lead to a server that the operator has not configured.
      redirect: "manual",
      signal: AbortSignal.any([signal, timeout]),
    });
    await response.body?.cancel();
    return outcomeOf(response, clock.unixMs());
  } catch (error) {
    if (signal.aborted) throw error;
    const reason = timeout.aborted ? `no answer within ${ATTEMPT_TIMEOUT_MS} ms` : reasonOf(error);
    return { kind: "failed", reason, retryAfterMs: 0 };
  }
}

function outcomeOf({ ok, status, headers }: Response, unixNowMs: number): Outcome {
  if (ok) return { kind: "accepted" };
  if (status === 410) return { kind: "gone" };
  const reason = `it answered ${status}`;
  if (status >= 400 && status < 500 && !RECEIVER_STATUSES.has(status)) return { kind: "refused", reason };
  return { kind: "failed", reason, retryAfterMs: retryAfterMs(headers.get("retry-after"), unixNowMs) };
}

/** The wait in a `Retry-After` header, as seconds or as a date; 0 if it is neither. */
export function retryAfterMs(header: string | null, unixNowMs: number): number {
  if (header === null) return 0;
  const ms = /^\s*\d+\s*$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - unixNowMs;
  return Math.min(Math.max(0, ms || 0), MAX_RETRY_AFTER_MS);
}

/** An error's message and those of its causes, without URLs, which may hold passwords or tokens. */
export function reasonOf(error: unknown): string {
  const messages = [];
  for (let cause = error; cause !== undefined && messages.length < 5;) {
    messages.push(messageOf(cause));
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  return messages.join(": ").replace(
    /https?:\/\/[^\s()]*[^\s():,;.]/g,
    (url) => URL.parse(url)?.host ?? "its URL",
  );
}
