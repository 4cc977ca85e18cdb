/**
 * The program as a user runs it: a process of its own, with the permissions of the role's task.
 *
 * @module
 */

/** One line of its log. */
export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly [property: string]: unknown;
}

/** The program at work. Kills it, if that is still needed, and removes its files at the end. */
export class Program implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #directory: string;
  readonly seen: LogLine[] = [];
  readonly stderr: Promise<string>;

  private constructor(
    args: readonly string[],
    env: Record<string, string>,
    directory: string,
    permissions: string,
  ) {
    this.#directory = directory;
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", `-P=${permissions}`, "src/main.ts", ...args],
      cwd: new URL("..", import.meta.url),
      env: {
        TALLY_DB: `${directory}/tally.db`,
        REDIS_URL: "",
        REDIS_HOST: "",
        REDIS_PORT: "",
        NO_COLOR: "1",
        ...env,
      },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#lines = linesOf(this.#child.stdout)[Symbol.asyncIterator]();
    this.stderr = new Response(this.#child.stderr).text();
  }

  /** Starts it on free ports, with its SQLite file where its permissions allow one. */
  static async start(
    args: readonly string[] = [],
    env: Record<string, string> = {},
    permissions = "ingest",
  ): Promise<Program> {
    const data = new URL("../data", import.meta.url).pathname;
    await Deno.mkdir(data, { recursive: true });
    const directory = await Deno.makeTempDir({ dir: data, prefix: "test-" });
    return new Program(args, { GRPC_PORT: "0", HTTP_PORT: "0", ...env }, directory, permissions);
  }

  /** The next log line with this message. */
  async line(message: string): Promise<LogLine> {
    for (;;) {
      const { value, done } = await this.#lines.next();
      if (done) {
        throw new Error(`no line says "${message}"; found ${JSON.stringify(this.seen)} ${await this.stderr}`);
      }
      const line = JSON.parse(value) as LogLine;
      this.seen.push(line);
      if (line.message === message) return line;
    }
  }

  signal(signal: "SIGHUP" | "SIGINT" | "SIGTERM" | "SIGKILL"): void {
    this.#child.kill(signal);
  }

  /** All it writes from now on, and its exit code. */
  async end(): Promise<{ code: number; lines: LogLine[]; stderr: string }> {
    const from = this.seen.length;
    for (let next = await this.#lines.next(); !next.done; next = await this.#lines.next()) {
      this.seen.push(JSON.parse(next.value));
    }
    const { code } = await this.#child.status;
    return { code, lines: this.seen.slice(from), stderr: await this.stderr };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended by itself.
    }
    await this.#child.status;
    await this.#lines.return?.();
    await this.stderr;
    await Deno.remove(this.#directory, { recursive: true });
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string, void> {
  let rest = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
  if (rest !== "") yield rest;
}
