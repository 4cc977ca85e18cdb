/**
 * Processes of the bench's own: what loads and what is compared share no event loop with each other. Parent
 * and child speak in lines of JSON; a child ends when its input does, and so with its parent.
 *
 * @module
 */
import { fileURLToPath } from "node:url";

/** One process, at work until it goes out of scope. */
export class Child implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #lines: AsyncIterator<string>;

  private constructor(readonly script: string, args: readonly string[]) {
    this.#process = new Deno.Command("deno", {
      args: ["run", "--quiet", "-P=bench", fileURLToPath(new URL(script, import.meta.url)), ...args],
      cwd: fileURLToPath(new URL("../../", import.meta.url)),
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    this.#input = this.#process.stdin.getWriter();
    this.#lines = linesOf(this.#process.stdout);
  }

  /** Starts a script of this folder. */
  static start(script: string, ...args: string[]): Child {
    return new Child(script, args);
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** What it says next. */
  async hear<Message>(): Promise<Message> {
    const { value, done } = await this.#lines.next();
    if (done) {
      const { code } = await this.#process.status;
      throw new Error(`${this.script} ended with exit code ${code}; what it wrote is above`);
    }
    return JSON.parse(value);
  }

  /** Tells it something and resolves to its answer. One at a time. */
  async ask<Answer>(question: unknown): Promise<Answer> {
    await this.#input.write(new TextEncoder().encode(`${JSON.stringify(question)}\n`));
    return await this.hear();
  }

  /** Ends it at once. */
  kill(): void {
    try {
      this.#process.kill("SIGKILL");
    } catch {
      // It has ended by itself.
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#input.close().catch(() => {}); // it may have ended by itself
    await this.#lines.return?.();
    await this.#process.status;
  }
}

/** In a child: says something to the parent. */
export function say(message: unknown): void {
  console.log(JSON.stringify(message));
}

/** In a child: answers the parent's questions, one after the other, until there are no more. */
export async function answer<Question>(handle: (question: Question) => unknown): Promise<void> {
  for await (const line of { [Symbol.asyncIterator]: () => linesOf(Deno.stdin.readable) }) {
    say(await handle(JSON.parse(line)));
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string, void> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
}
