/**
 * Sends messages to one channel, in order, one at a time, and again while the channel fails.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import type { Backoff } from "../../runtime/backoff.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Message, Outbox } from "../incidents/outbox.ts";
import { type JsonRequest, type Outcome, postJson } from "../webhook_request.ts";
import type { ChannelName } from "./channel.ts";

/** Attempts to send a message that the channel refuses. */
export const MAX_REFUSALS = 5;

/** Messages that this process remembers to have sent, should the store lose that. */
const REMEMBERED = 1_000;

/** What {@linkcode ChannelSender} needs. */
export interface SenderOptions {
  /** Which channel. */
  readonly name: ChannelName;
  /** Makes the request of a message. */
  readonly request: (message: Message) => JsonRequest;
  /** To measure durations, and to stamp requests. */
  readonly clock: Clock;
  /** Waits between attempts. */
  readonly backoff: Backoff;
  /** Receives a line when sending begins to fail and when it succeeds again. */
  readonly log: Logger;
  /** Ends attempts. */
  readonly signal: AbortSignal;
}

/** What one channel has had since this process started. */
export class ChannelSender {
  /** Which one it is. */
  readonly name: ChannelName;
  readonly #options: SenderOptions;
  /** Messages that the channel has accepted. */
  delivered = 0;
  /** Messages that it has refused for good. */
  setAside = 0;
  readonly #remembered = new Set<string>();
  #refusals = 0;
  #nextAttemptAtMs = -Infinity;
  #sending: Promise<void> | undefined;

  /** Sends nothing yet. */
  constructor(options: SenderOptions) {
    this.name = options.name;
    this.#options = options;
  }

  /** Attempts that failed in a row. */
  get failures(): number {
    return this.#options.backoff.failures;
  }

  /** Sends what waits in `outbox`, if nothing is being sent and it is time. Resolves at once. */
  send(outbox: Outbox): void {
    if (this.#sending !== undefined || outbox.next(this.name) === undefined) return;
    if (this.#options.clock.monotonicMs() < this.#nextAttemptAtMs) return;
    this.#sending = this.#sendAll(outbox).catch((error) => {
      if (!this.#options.signal.aborted) {
        this.#options.log.error("Cannot send messages to {name}", { name: this.name, error });
      }
    }).finally(() => this.#sending = undefined);
  }

  /** Resolves when nothing is being sent any more; undefined: nothing is. */
  get sending(): Promise<void> | undefined {
    return this.#sending;
  }

  async #sendAll(outbox: Outbox): Promise<void> {
    const { request, clock, signal } = this.#options;
    for (;;) {
      const message = outbox.next(this.name);
      if (message === undefined) return;
      const key = `${message.incident.id} ${message.kind} ${message.id}`;
      if (!this.#remembered.has(key)) {
        const outcome = await postJson(request(message), clock, signal);
        if (!this.#take(outcome, message)) return;
        this.#remembered.add(key);
        if (this.#remembered.size > REMEMBERED) {
          this.#remembered.delete(this.#remembered.values().next().value!);
        }
      }
      outbox.done(message.id, this.name);
    }
  }

  /** Whether it is done with the message. */
  #take(outcome: Outcome, { id, incident }: Message): boolean {
    const { backoff, log, clock } = this.#options;
    if (outcome.kind === "accepted") {
      if (backoff.failures > 0) log.info("Messages are sent to {name} again", { name: this.name });
      backoff.succeeded();
      this.#refusals = 0;
      this.delivered++;
      return true;
    }
    const reason = outcome.kind === "gone" ? "it answered 410" : outcome.reason;
    const isRefused = outcome.kind !== "failed";
    if (isRefused && ++this.#refusals >= MAX_REFUSALS) {
      log.error("{name} refused message {id} {refusals} times, and it is left out: {reason}", {
        ...{ name: this.name, id, incident: incident.id, refusals: this.#refusals, reason },
      });
      this.#refusals = 0;
      this.setAside++;
      return true;
    }
    if (backoff.failures === 0) {
      log.warn("A message could not be sent to {name}, trying again: {reason}", { name: this.name, reason });
    }
    const retryAfterMs = outcome.kind === "failed" ? outcome.retryAfterMs : 0;
    this.#nextAttemptAtMs = clock.monotonicMs() + Math.max(backoff.failed(), retryAfterMs);
    return false;
  }
}
