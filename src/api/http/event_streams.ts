/**
 * Server-Sent Events, pulled: a client's next event is made when it has taken the one before, so that a
 * slow client costs the memory of one event, and is dropped when it takes none for too long.
 *
 * @see https://html.spec.whatwg.org/multipage/server-sent-events.html
 * @module
 */
import { RequestError } from "../../protocol/request_error.ts";

/** Proxies close connections that say nothing for a minute or half of one. */
const HEARTBEAT_MS = 15_000;

/** What is in the buffers on the way takes longer than this only on a line that is dead. */
const SLOW_CLIENT_MS = 10_000;

/** Browsers connect again after so long, spread by their own delays. */
const RETRY_MS = 2_000;

/** Makes what is sent next; may wait for it, until `signal` is aborted. */
export type NextEvent = (signal: AbortSignal) => Promise<string>;

/** How many streams there may be, and how long they wait. */
export interface EventStreamsOptions {
  /** Further ones are refused. */
  readonly maxClients: number;
  /** A stream that has nothing to say sends a comment this often; 15 s by default. */
  readonly heartbeatMs?: number;
  /** A client that has not taken an event after this time is dropped; 10 s by default. */
  readonly slowClientMs?: number;
}

/** All streams that are open. */
export class EventStreams {
  readonly #maxClients: number;
  readonly #heartbeatMs: number;
  readonly #slowClientMs: number;
  readonly #ends = new Set<() => void>();
  #closed = false;

  /** None is open yet. */
  constructor(
    { maxClients, heartbeatMs = HEARTBEAT_MS, slowClientMs = SLOW_CLIENT_MS }: EventStreamsOptions,
  ) {
    this.#maxClients = maxClients;
    this.#heartbeatMs = heartbeatMs;
    this.#slowClientMs = slowClientMs;
  }

  /** Streams open. */
  get size(): number {
    return this.#ends.size;
  }

  /** Throws {@linkcode RequestError} where there is no room for one more stream. */
  checkRoom(): void {
    if (this.#closed) throw new RequestError("UNAVAILABLE", "the api is shutting down: try again");
    if (this.#ends.size >= this.#maxClients) {
      throw new RequestError(
        "UNAVAILABLE",
        `${this.#maxClients} clients are connected already: try again later, or raise TALLY_LIVE_MAX_CLIENTS`,
      );
    }
  }

  /** A body that sends what `next` makes, until its reader leaves, is too slow, or {@linkcode close}. */
  open(next: NextEvent): ReadableStream<Uint8Array> {
    this.checkRoom();
    const encoder = new TextEncoder();
    const ended = Promise.withResolvers<undefined>();
    const abort = new AbortController();
    let slowTimer: ReturnType<typeof setTimeout> | undefined;
    let coming: Promise<string> | undefined;
    const end = (last: () => void) => {
      if (abort.signal.aborted) return;
      clearTimeout(slowTimer);
      this.#ends.delete(close);
      abort.abort();
      ended.resolve(undefined);
      last();
    };
    let close = () => {};
    const handOver = (controller: ReadableStreamDefaultController<Uint8Array>, text: string) => {
      const tooSlow = new Error(`the client took no event in ${this.#slowClientMs} ms`);
      slowTimer = setTimeout(() => end(() => controller.error(tooSlow)), this.#slowClientMs);
      // Last: a client that is found to be gone ends the stream from within this call.
      controller.enqueue(encoder.encode(text));
    };
    return new ReadableStream<Uint8Array>({
      start: (controller) => {
        close = () => end(() => controller.close());
        this.#ends.add(close);
        handOver(controller, `retry: ${RETRY_MS}\n\n`);
      },
      pull: async (controller) => {
        clearTimeout(slowTimer);
        // One that a heartbeat overtook is still to come.
        coming ??= next(abort.signal);
        try {
          const text = await within(this.#heartbeatMs, coming, ended.promise);
          if (abort.signal.aborted) return;
          if (text !== undefined) coming = undefined;
          handOver(controller, text ?? ": nothing new\n\n");
        } catch (error) {
          end(() => controller.error(error));
        }
      },
      cancel: () => end(() => {}),
    }, { highWaterMark: 0 });
  }

  /** Ends every stream, and refuses new ones. */
  close(): void {
    this.#closed = true;
    for (const end of this.#ends) end();
  }
}

/** One event; `data` becomes JSON. */
export function formatEvent(event: string, data: unknown, id?: number): string {
  return `event: ${event}\n${id === undefined ? "" : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`;
}

/** What `work` resolves to; undefined if that takes longer than `timeoutMs`, or than `ended`. */
async function within<T>(
  timeoutMs: number,
  work: Promise<T>,
  ended: Promise<undefined>,
): Promise<T | undefined> {
  const late = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => late.resolve(undefined), timeoutMs);
  try {
    return await Promise.race([work, late.promise, ended]);
  } finally {
    clearTimeout(timer);
  }
}
