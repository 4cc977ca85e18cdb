/**
 * The connection of a client: one call after the other, with a back-off after each that fails.
 *
 * @module
 */
import { type Client, status, type StatusObject } from "@grpc/grpc-js";

import type { Ack } from "../protocol/messages.ts";
import { Backoff } from "../runtime/backoff.ts";
import { messageOf } from "../runtime/error_text.ts";
import { type CallStart, type ClaimedSession, DeviceCall, openChannel } from "./call.ts";
import { callEnded, isFinal, sessionShared, TelemetryClientError } from "./client_error.ts";
import { assertToken, type ResolvedOptions, type TokenSource } from "./client_options.ts";

/** What a {@linkcode ConnectionLoop} reads from its client and reports to it; of the current call only. */
export interface ConnectionEvents {
  /** Where a call begins: at the first packet that is not settled. */
  nextStart(): CallStart;
  /** Packets were written that are not settled. */
  awaitsAck(): boolean;
  /** The call that begins at `start` may write, or is to be replaced: {@linkcode ConnectionLoop.restart}. */
  opened(start: CallStart, session: ClaimedSession): void;
  /** An Ack of the call has come. */
  acked(ack: Ack): void;
  /** There is room again after a {@linkcode ConnectionLoop.write} that returned false. */
  writable(): void;
  /**
   * The call has ended; `committed` if the status came with it. `exhausted`: a written message exceeds a limit
   * of the server, or of a proxy before it.
   */
  ended(committed: number | undefined, exhausted: boolean): void;
  /** The loop has ended for good. */
  failed(error: TelemetryClientError): void;
  /** {@linkcode ConnectionLoop.end} is complete. */
  finished(): void;
}

/**
 * A call without a response may still claim the session on the server, late, which ends the next call with
 * ABORTED. Longer than any server takes for a claim.
 */
const LATE_CLAIM_MS = 60_000;

type State =
  /** The back-off before the next call. */
  | "waiting"
  /** A call has started; no response yet. */
  | "connecting"
  /** Packets may be written. */
  | "connected"
  /** The call is half-closed: no more packets. */
  | "ending"
  /** Closed or failed. */
  | "closed";

/** Keeps a call of the session open until it is ended, or fails for good. */
export class ConnectionLoop {
  readonly #options: ResolvedOptions;
  readonly #session: string;
  readonly #events: ConnectionEvents;
  #state: State = "waiting";
  #channel: Client | undefined;
  #call: DeviceCall | undefined;
  readonly #backoff: Backoff;
  /** Calls in a row that were replaced at once. */
  #restarts = 0;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #stallTimer: ReturnType<typeof setTimeout> | undefined;
  /** Calls started so far: a token that comes for an earlier one is not used. */
  #calls = 0;
  /** The token of the current call, and the one that was refused last. */
  #token: string | undefined;
  #refused: { readonly token: string | undefined; readonly error: TelemetryClientError } | undefined;
  /** When a call of this session last ended without a response. */
  #unansweredAtMs: number;

  /**
   * Does nothing before {@linkcode connect}. `resumed`: an earlier process used the session, and may have
   * left a call without a response. `random`: from 0 to below 1, for the jitter of the back-off.
   */
  constructor(
    options: ResolvedOptions,
    session: string,
    resumed: boolean,
    events: ConnectionEvents,
    random: () => number = Math.random,
  ) {
    this.#backoff = new Backoff({
      firstMs: options.minBackoffMs,
      maxMs: options.maxBackoffMs,
      jitter: 1,
      random,
    });
    this.#options = options;
    this.#session = session;
    this.#events = events;
    this.#unansweredAtMs = resumed ? performance.now() : -Infinity;
  }

  /** Whether packets may be written. */
  get connected(): boolean {
    return this.#state === "connected";
  }

  /** Starts a call. */
  connect(): void {
    this.#state = "connecting";
    this.#calls++;
    this.progress();
    const { token } = this.#options;
    if (typeof token === "function") this.#callWithToken(token);
    else this.#startCall(token);
  }

  async #callWithToken(source: TokenSource): Promise<void> {
    const call = this.#calls;
    let token: string | undefined, error: TelemetryClientError | undefined;
    try {
      token = await source();
      assertToken(token);
    } catch (cause) {
      error = new TelemetryClientError(`Cannot get a token: found ${messageOf(cause)}`);
    }
    if (call !== this.#calls || this.#state !== "connecting") return;
    if (error !== undefined) this.retry(error);
    else if (this.#refused?.token === token) this.#events.failed(this.#refused!.error);
    else this.#startCall(token);
  }

  #startCall(token: string | undefined): void {
    this.#token = token;
    this.#channel ??= openChannel(this.#options);
    const start = this.#events.nextStart();
    this.#call = new DeviceCall(this.#channel, this.#session, start, token, {
      opened: (session) => {
        this.#state = "connected";
        this.#refused = undefined;
        this.progress();
        this.#events.opened(start, session);
      },
      acked: (ack) => this.#acked(ack),
      writable: () => this.#events.writable(),
      ended: (end, committed) => this.#ended(end, committed),
    });
  }

  /** Replaces the call by one at another offset; with a back-off from the second time in a row on. */
  restart(): void {
    this.#call!.cancel();
    if (this.#restarts++ === 0) this.connect();
    else {
      this.retry(new TelemetryClientError(`the session advanced before ${this.#options.target} responded`));
    }
  }

  /** Packets were settled, or none were pending: resets the back-off. */
  succeeded(): void {
    this.#backoff.succeeded();
    this.#restarts = 0;
    this.progress();
  }

  /** Restarts the timeout after which a call without progress is closed. */
  progress(): void {
    const { stallTimeoutMs, target } = this.#options;
    clearTimeout(this.#stallTimer);
    this.#stallTimer = setTimeout(() => {
      if (this.#state === "ending") this.#finish();
      else if (this.#state === "connecting" || this.#events.awaitsAck()) {
        this.retry(new TelemetryClientError(`${target} settled nothing for ${stallTimeoutMs} ms`));
      }
    }, stallTimeoutMs);
  }

  /** Sends a `PacketBatch`; false: wait for {@linkcode ConnectionEvents.writable}. Only while {@linkcode connected}. */
  write(bytes: Uint8Array): boolean {
    return this.#call!.write(bytes);
  }

  /** Ends gracefully: half-closes the call, if it is open. */
  end(): void {
    if (this.#state === "connected") {
      this.#state = "ending";
      this.progress();
      this.#call!.end();
    } else if (this.#state !== "ending") this.#finish();
  }

  /** Closes at once, without an event. */
  close(): void {
    this.#disconnect();
    this.#state = "closed";
  }

  /** Ends the call and starts another after a back-off. */
  retry(error: TelemetryClientError): void {
    if (this.#state === "connecting") this.#unansweredAtMs = performance.now();
    this.#disconnect();
    this.#state = "waiting";
    const delayMs = this.#backoff.failed();
    this.#retryTimer = setTimeout(() => this.connect(), delayMs);
    this.#options.onDisconnected(error, delayMs);
  }

  #acked(ack: Ack): void {
    if (this.#state !== "connecting") return this.#events.acked(ack);
    this.#events.failed(
      new TelemetryClientError(
        `${this.#options.target} sent an Ack without telemetry-committed: it has no sessions, or a proxy ` +
          "removes metadata",
      ),
    );
  }

  #ended(end: StatusObject, committed: number | undefined): void {
    if (this.#state === "ending") return this.#finish();
    const exhausted = this.#state === "connected" && end.code === status.RESOURCE_EXHAUSTED;
    this.#events.ended(committed, exhausted);
    if (this.#state === "closed") return;
    const error = callEnded(this.#options.target, end);
    const ownLateClaim = performance.now() - this.#unansweredAtMs < LATE_CLAIM_MS;
    if (end.code === status.UNAUTHENTICATED && typeof this.#options.token === "function") {
      this.#refused = { token: this.#token, error };
      this.retry(error);
    } else if (isFinal(end)) this.#events.failed(error);
    else if (end.code === status.ABORTED && !ownLateClaim) this.#events.failed(sessionShared(this.#session));
    else this.retry(error);
  }

  #finish(): void {
    this.close();
    this.#events.finished();
  }

  #disconnect(): void {
    clearTimeout(this.#stallTimer);
    clearTimeout(this.#retryTimer);
    this.#call?.cancel();
    this.#call = undefined;
    this.#channel?.close();
    this.#channel = undefined;
  }
}
