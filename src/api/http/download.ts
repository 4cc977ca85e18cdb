/**
 * Bodies of any length: made as they are read, so that each costs the memory of one part.
 *
 * @module
 */
import { RequestError } from "../../protocol/request_error.ts";

/** How many downloads there may be, and how long they wait. */
export interface DownloadOptions {
  /** Further ones are refused; default 8. */
  readonly maxDownloads?: number;
  /** A client that reads nothing for longer is cut off; default 60 s. */
  readonly stalledMs?: number;
}

/** All downloads of a process. */
export class Downloads {
  readonly #maxDownloads: number;
  readonly #stalledMs: number;
  #open = 0;

  /** None is open yet. */
  constructor({ maxDownloads = 8, stalledMs = 60_000 }: DownloadOptions = {}) {
    this.#maxDownloads = maxDownloads;
    this.#stalledMs = stalledMs;
  }

  /** Throws {@linkcode RequestError} where there is no room for one more. */
  checkRoom(): void {
    if (this.#open < this.#maxDownloads) return;
    throw new RequestError("UNAVAILABLE", `${this.#maxDownloads} exports are open already: try again later`);
  }

  /**
   * A body of these texts, each made when the one before was read; when one cannot be made, or `reader`'s token is
   * revoked, it fails, and the connection is closed.
   */
  open(
    texts: AsyncGenerator<string>,
    reader: { onRevoked(end: () => void): () => void },
  ): ReadableStream<Uint8Array> {
    this.checkRoom();
    this.#open++;
    const encoder = new TextEncoder(), stalledMs = this.#stalledMs;
    let timer: ReturnType<typeof setTimeout> | undefined, unwatch = () => {}, isOpen = true;
    const end = () => {
      if (!isOpen) return;
      isOpen = false;
      this.#open--;
      clearTimeout(timer);
      unwatch();
      texts.return(undefined).catch(() => {}); // It may fail where it waits.
    };
    const fail = (controller: ReadableStreamDefaultController<Uint8Array>, error: unknown) => {
      if (!isOpen) return;
      end();
      controller.error(error);
    };
    return new ReadableStream<Uint8Array>({
      start: (controller) => {
        unwatch = reader.onRevoked(() => fail(controller, new Error("the reader's token was revoked")));
      },
      async pull(controller) {
        clearTimeout(timer);
        try {
          const { done, value } = await texts.next();
          if (!isOpen) return;
          if (done) {
            end();
            return controller.close();
          }
          const stalled = new Error(`the client read nothing in ${stalledMs} ms`);
          timer = setTimeout(() => fail(controller, stalled), stalledMs);
          controller.enqueue(encoder.encode(value));
        } catch (error) {
          fail(controller, error);
        }
      },
      cancel: end,
    }, { highWaterMark: 0 });
  }
}
