/**
 * Server-Sent Events, pulled: a client's next event is made when it has read the one before, so that a slow client
 * costs the memory of one event, and is dropped when it reads none for too long.
 *
 * @see https://html.spec.whatwg.org/multipage/server-sent-events.html
 * @module
 */
import type { Context } from "@hono/hono";

import { RequestError } from "../../protocol/request_error.ts";
import { withTimeout } from "../../runtime/timeout.ts";
import type { ReaderConnection } from "../../http/reader_server.ts";
import { type Reader, readerOf } from "./access.ts";

/** Proxies close connections that are idle for a minute or half of one. */
const HEARTBEAT_MS = 15_000;

/** Buffers on the way empty within this time unless the connection is dead. */
const SLOW_CLIENT_MS = 10_000;

/** Browsers connect again after so long, spread by their own delays. */
const RETRY_MS = 2_000;

/** Makes the text to send next; may wait for it, until `signal` is aborted. */
export type NextEvent = (signal: AbortSignal) => Promise<string>;

/** How many streams there may be, and how long they wait. */
export interface SseOptions {
  /** Further ones are refused. */
  readonly maxClients: number;
  /** An idle stream sends a comment this often; 15 s by default. */
  readonly heartbeatMs?: number;
  /** A client that has not read an event after this time is dropped; 10 s by default. */
  readonly slowClientMs?: number;
}

/** All streams that are open. */
export class SseBroadcaster {
  readonly #maxClients: number;
  readonly #heartbeatMs: number;
  readonly #slowClientMs: number;
  readonly #ends = new Set<() => void>();
  #closed = false;

  /** None is open yet. */
  constructor({ maxClients, heartbeatMs = HEARTBEAT_MS, slowClientMs = SLOW_CLIENT_MS }: SseOptions) {
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

  /**
   * A body that sends what `next` makes, until its client disconnects or is too slow, the reader's token is revoked, or
   * {@linkcode close}.
   */
  open(next: NextEvent, reader: Pick<Reader, "onRevoked">): ReadableStream<Uint8Array> {
    this.checkRoom();
    const encoder = new TextEncoder();
    const ended = Promise.withResolvers<undefined>();
    const abort = new AbortController();
    let slowTimer: ReturnType<typeof setTimeout> | undefined;
    let pending: Promise<string> | undefined;
    const end = (last: () => void) => {
      if (abort.signal.aborted) return;
      clearTimeout(slowTimer);
      this.#ends.delete(close);
      unwatch();
      abort.abort();
      ended.resolve(undefined);
      last();
    };
    let close = () => {};
    let unwatch = () => {};
    const send = (controller: ReadableStreamDefaultController<Uint8Array>, text: string) => {
      const tooSlow = new Error(`the client read no event in ${this.#slowClientMs} ms`);
      slowTimer = setTimeout(() => end(() => controller.error(tooSlow)), this.#slowClientMs);
      // Last: where the client has disconnected, this call ends the stream.
      controller.enqueue(encoder.encode(text));
    };
    return new ReadableStream<Uint8Array>({
      start: (controller) => {
        close = () => end(() => controller.close());
        this.#ends.add(close);
        unwatch = reader.onRevoked(close);
        send(controller, `retry: ${RETRY_MS}\n\n`);
      },
      pull: async (controller) => {
        clearTimeout(slowTimer);
        // After a heartbeat the event that it overtook is still pending.
        pending ??= next(abort.signal);
        try {
          const text = await withTimeout(
            this.#heartbeatMs,
            Promise.race([pending, ended.promise]),
            () => undefined,
          );
          if (abort.signal.aborted) return;
          if (text !== undefined) pending = undefined;
          send(controller, text ?? ": nothing new\n\n");
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

/** The response with the stream that `open` returns for its reader; a HEAD opens none. */
export function sseResponse(c: Context, open: (reader: Reader) => ReadableStream<Uint8Array>): Response {
  c.header("Content-Type", "text/event-stream");
  c.header("Cache-Control", "no-store");
  // nginx would buffer a few KiB of events otherwise.
  c.header("X-Accel-Buffering", "no");
  if (c.req.raw.method === "HEAD") return c.body(null);
  const connection: ReaderConnection = c.env;
  return c.body(connection.eventStream(open(readerOf(c))));
}
