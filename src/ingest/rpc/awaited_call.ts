/**
 * A call whose caller is being looked up: nothing of it is read. What arrives meanwhile is buffered, within the windows
 * of HTTP/2.
 *
 * @module
 */
import type { Http2Stream, StreamReader } from "../../http2/stream.ts";
import { WaitingBytes } from "../../http2/waiting_bytes.ts";
import { responseHeaders, statusFields } from "./grpc_fields.ts";

/** Its reader until the caller is known. */
export class AwaitedCall implements StreamReader {
  readonly waiting = true;
  readonly #waiting = new WaitingBytes();
  #ended = false;
  #closed = false;

  /** Buffers what arrives on `stream`. */
  constructor(readonly stream: Http2Stream) {
    stream.reader = this;
  }

  /** See {@linkcode StreamReader}. */
  read(bytes: Uint8Array, start: number, end: number): void {
    this.#waiting.add(bytes.subarray(start, end));
  }

  /** See {@linkcode StreamReader}. */
  end(): void {
    this.#ended = true;
  }

  /** See {@linkcode StreamReader}. */
  close(): void {
    this.#closed = true;
  }

  /** See {@linkcode StreamReader}: a lookup has a deadline of its own. */
  tick(): void {}

  /** The caller is known: `receive` sets another reader, which receives what was buffered. */
  accept(receive: (stream: Http2Stream) => void): void {
    if (this.#closed) return;
    const { stream } = this;
    this.stream.reader = undefined;
    receive(stream);
    const { reader } = stream;
    for (let bytes; (bytes = this.#waiting.first()) !== undefined;) {
      reader?.read(bytes, 0, bytes.length);
      this.#waiting.consumed(bytes.length);
    }
    // A reader that buffers it returns the credit later.
    if (!reader?.waiting) stream.resume();
    if (this.#ended) reader?.end();
  }

  /** The call is refused; what arrives further is discarded. */
  refuse(error: unknown): void {
    if (this.#closed) return;
    this.stream.reader = undefined;
    this.stream.sendHeaders([...responseHeaders, ...statusFields(error)], true);
    this.stream.resume();
  }
}
