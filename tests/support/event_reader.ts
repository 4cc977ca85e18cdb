/**
 * Reads Server-Sent Events.
 *
 * @module
 */

/** One event. */
export interface ReadEvent {
  /** `event:`; a comment has the name "comment". */
  readonly name: string;
  /** `id:`, empty if there was none. */
  readonly id: string;
  /** `data:`, parsed. */
  // deno-lint-ignore no-explicit-any -- whatever was sent; the tests compare it
  readonly data: any;
}

/** A stream that is open. */
export class EventReader implements AsyncDisposable {
  readonly #reader: ReadableStreamDefaultReader<string>;
  #text = "";

  constructor(response: Response) {
    this.#reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** The next event, or undefined when the stream has ended. */
  async next(): Promise<ReadEvent | undefined> {
    for (;;) {
      const end = this.#text.indexOf("\n\n");
      if (end >= 0) {
        const lines = this.#text.slice(0, end).split("\n");
        this.#text = this.#text.slice(end + 2);
        const field = (name: string) =>
          lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
        if (lines[0]!.startsWith(":")) return { name: "comment", id: "", data: undefined };
        const [name, data] = [field("event"), field("data")];
        if (name !== undefined && data !== undefined) {
          return { name, id: field("id") ?? "", data: JSON.parse(data) };
        }
        continue;
      }
      const { done, value } = await this.#reader.read();
      if (done) return undefined;
      this.#text += value;
    }
  }

  /** The next event of this name. */
  async nextOf(name: string): Promise<ReadEvent> {
    for (;;) {
      const event = await this.next();
      if (event === undefined) throw new Error(`the stream ended before an event ${name}`);
      if (event.name === name) return event;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reader.cancel();
  }
}

/** Opens a stream. */
export async function openEvents(url: string, headers: Record<string, string> = {}): Promise<EventReader> {
  const response = await fetch(url, { headers: { accept: "text/event-stream", ...headers } });
  if (!response.ok) throw new Error(`${url} answered ${response.status}: ${await response.text()}`);
  return new EventReader(response);
}
