/**
 * A client's way to Tally: one call after the other, with pauses between those that fail.
 *
 * @module
 */
import { type Client, status, type StatusObject } from "@grpc/grpc-js";

import { Backoff } from "../runtime/backoff.ts";
import type { Ack } from "../protocol/messages.ts";
import { DeviceCall, openChannel } from "./call.ts";
import { callEnded, isFinal, sessionShared, TelemetryClientError } from "./client_error.ts";
import type { ResolvedOptions } from "./client_options.ts";

/** What a {@linkcode Link} asks and tells its client. No call but the current one is heard of. */
export interface LinkEvents {
  /** Index in the session of the first packet that is not settled: where a call begins. */
  nextOffset(): number;
  /** Packets were written that are not settled. */
  awaitsAck(): boolean;
  /**
   * The call that begins at `offset` may write, or is to be replaced: {@linkcode Link.restart}. The server
   * accepts messages up to `maxMessageBytes`, if it states that.
   */
  opened(offset: number, committed: number, maxMessageBytes: number | undefined): void;
  /** An Ack of the call has come. */
  acked(ack: Ack): void;
  /** There is room again after a {@linkcode Link.write} that returned false. */
  writable(): void;
  /**
   * The call has ended; `committed` if the server said it with the status. `exhausted`: for something that
   * was written, which is too large or too much for the server or for a proxy before it.
   */
  ended(committed: number | undefined, exhausted: boolean): void;
  /** The link is given up for good. */
  failed(error: TelemetryClientError): void;
  /** All that {@linkcode Link.end} waits for is done. */
  finished(): void;
}

/**
 * A call that got no answer may still claim the session on the server, late, and so end the call after it
 * with ABORTED. Longer than any server takes over a claim.
 */
const LATE_CLAIM_MS = 60_000;

type State =
  /** Waiting to connect again. */
  | "paused"
  /** A call has been started and not answered. */
  | "connecting"
  /** Packets may be written. */
  | "connected"
  /** The server has been told that no more packets come. */
  | "ending"
  /** Closed or failed. */
  | "closed";

/** See the module. */
export class Link {
  readonly #options: ResolvedOptions;
  readonly #session: string;
  readonly #events: LinkEvents;
  #state: State = "paused";
  #channel: Client | undefined;
  #call: DeviceCall | undefined;
  readonly #backoff: Backoff;
  /** In a row. */
  #restarts = 0;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #stallTimer: ReturnType<typeof setTimeout> | undefined;
  /** When a call of this session last ended without an answer. */
  #unansweredAtMs: number;

  /**
   * Nothing is done before {@linkcode connect}. `hasPast`: an earlier process used the session, and may
   * have left a call without an answer.
   * `random`: from 0 to below 1, for the waits between attempts.
   */
  constructor(
    options: ResolvedOptions,
    session: string,
    hasPast: boolean,
    events: LinkEvents,
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
    this.#unansweredAtMs = hasPast ? performance.now() : -Infinity;
  }

  /** Whether packets may be written. */
  get connected(): boolean {
    return this.#state === "connected";
  }

  /** Starts a call. */
  connect(): void {
    this.#state = "connecting";
    this.#channel ??= openChannel(this.#options);
    const offset = this.#events.nextOffset();
    this.#call = new DeviceCall(this.#channel, this.#session, offset, {
      opened: (committed, maxMessageBytes) => {
        this.#state = "connected";
        this.progress();
        this.#events.opened(offset, committed, maxMessageBytes);
      },
      acked: (ack) => this.#acked(ack),
      writable: () => this.#events.writable(),
      ended: (end, committed) => this.#ended(end, committed),
    });
    this.progress();
  }

  /** Replaces the call by one that begins at another offset; not at once if that was done just before. */
  restart(): void {
    this.#call!.cancel();
    if (this.#restarts++ === 0) this.connect();
    else this.retry(new TelemetryClientError(`the session moved on while ${this.#options.target} answered`));
  }

  /** Packets have been settled, or there were none to settle: the next failure is the first. */
  succeeded(): void {
    this.#backoff.succeeded();
    this.#restarts = 0;
    this.progress();
  }

  /** Something was done or begun: the call is given up if it stays the last for too long. */
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

  /** Sends a `PacketBatch`; false: wait for {@linkcode LinkEvents.writable}. Only while {@linkcode connected}. */
  write(bytes: Uint8Array): boolean {
    return this.#call!.write(bytes);
  }

  /** Ends in good order: tells the server, if it is there, that no more packets come. */
  end(): void {
    if (this.#state === "connected") {
      this.#state = "ending";
      this.progress();
      this.#call!.end();
    } else if (this.#state !== "ending") this.#finish();
  }

  /** Ends at once, without an event. */
  close(): void {
    this.#disconnect();
    this.#state = "closed";
  }

  /** Ends the call and starts another after a pause. */
  retry(error: TelemetryClientError): void {
    if (this.#state === "connecting") this.#unansweredAtMs = performance.now();
    this.#disconnect();
    this.#state = "paused";
    const delayMs = this.#backoff.failed();
    this.#retryTimer = setTimeout(() => this.connect(), delayMs);
    this.#options.onDisconnected(error, delayMs);
  }

  #acked(ack: Ack): void {
    if (this.#state !== "connecting") return this.#events.acked(ack);
    this.#events.failed(
      new TelemetryClientError(
        `${this.#options.target} acknowledges without telemetry-committed: it knows no sessions, or ` +
          `something on the way removes metadata`,
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
    if (isFinal(end)) this.#events.failed(error);
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
