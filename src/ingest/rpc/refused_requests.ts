/**
 * Requests that are HTTP and not gRPC: each gets a status and a line of text when the peer has half-closed.
 *
 * @module
 */
import type { Route } from "../../http2/call_admission.ts";
import type { HeaderField } from "../../http2/hpack/tables.ts";
import type { Http2Stream, StreamReader } from "../../http2/stream.ts";

/** The response to such a request. */
export interface HttpRefusal {
  /** HTTP status. */
  readonly status: string;
  /** For a person. */
  readonly text: string;
  /** Further fields. */
  readonly more?: readonly HeaderField[];
}

/** Requests that may be open at once, in the process; those above get their response at once, and without text. */
const MAX_OPEN = 1000;

const encoder = new TextEncoder();

/** The refused requests of a process. */
export class RefusedRequests {
  #open = 0;

  /** The route of a refused request. */
  route({ status, text, more = [] }: HttpRefusal): Route {
    if (this.#open >= MAX_OPEN) return { response: [[":status", status], ...more] };
    const fields: HeaderField[] = [[":status", status], ["content-type", "text/plain"], ...more];
    return {
      handler: (stream) => {
        this.#open++;
        stream.reader = new RefusedRequest(stream, fields, encoder.encode(text), () => this.#open--);
      },
    };
  }
}

class RefusedRequest implements StreamReader {
  readonly waiting = false;

  constructor(
    readonly stream: Http2Stream,
    readonly fields: readonly HeaderField[],
    readonly text: Uint8Array,
    readonly closed: () => void,
  ) {}

  /** DATA is discarded. */
  read(): void {}

  end(): void {
    if (this.stream.headersSent) return;
    this.stream.sendHeaders(this.fields);
    this.stream.write(this.text, () => {});
    this.stream.end([]);
  }

  close(): void {
    this.closed();
  }

  /** The peer does not half-close in time. */
  tick(): void {
    this.end();
  }
}
