/**
 * Server-Sent Events by `fetch`, which can send a token in a header. An EventSource could only in its URL, which servers
 * and proxies log; and a ticket for one use, to be put there instead, would cost a request and state of the api.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
import { ApiError } from "./api.js";
import { authorizedFetch } from "./token.js";

/**
 * @typedef {object} EventListeners
 * @property {() => void} onOpen
 * @property {(name: string, data: any) => void} onEvent `data`: parsed
 * @property {(error: ApiError) => void} onEnd called once, unless the reader was closed before
 */

/** An open stream of events; it is not opened again by itself. */
export class EventReader {
  #abort = new AbortController();
  #listeners;

  /**
   * @param {string} url
   * @param {EventListeners} listeners
   */
  constructor(url, listeners) {
    this.#listeners = listeners;
    this.#read(url).catch((error) => {
      if (this.#abort.signal.aborted) return;
      listeners.onEnd(error instanceof ApiError ? error : new ApiError(0, "the connection was lost"));
    });
  }

  /** Ends the stream; no listener is called any more. */
  close() {
    this.#abort.abort();
  }

  /** @param {string} url */
  async #read(url) {
    const { signal } = this.#abort;
    const headers = { Accept: "text/event-stream" };
    const { ok, status, body } = await authorizedFetch(url, { headers, cache: "no-store", signal });
    if (!ok || body === null) throw new ApiError(status, `the api responded with status ${status}`);
    if (signal.aborted) return;
    this.#listeners.onOpen();
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (signal.aborted) return;
      if (done) throw new ApiError(0, "the api ended the connection");
      const events = (text + value).split("\n\n");
      text = events.pop() ?? "";
      for (const event of events) this.#dispatch(event);
    }
  }

  /** @param {string} event its lines, without the empty one that ends it */
  #dispatch(event) {
    const lines = event.split("\n");
    /** @param {string} field */
    const valueOf = (field) => lines.find((line) => line.startsWith(`${field}: `))?.slice(field.length + 2);
    const [name, data] = [valueOf("event"), valueOf("data")];
    // Comments keep the connection open.
    if (name === undefined || data === undefined || this.#abort.signal.aborted) return;
    try {
      this.#listeners.onEvent(name, JSON.parse(data));
    } catch (error) {
      // An error of the page, not of the connection.
      reportError(error);
    }
  }
}
