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

/** How the program is started. */
export interface ProgramOptions {
  /** The permission set of `deno.json`; that of the ingest role by default. */
  readonly permissions?: string;
  /** Shell commands that run before it in its process, such as `ulimit -n 100`. */
  readonly shell?: string;
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
    { permissions = "ingest", shell = "" }: ProgramOptions,
  ) {
    this.#directory = directory;
    this.#child = new Deno.Command("sh", {
      args: ["-c", `${shell}\nexec "$0" "$@"`, Deno.execPath(), "run", "--no-prompt", `-P=${permissions}`]
        .concat("src/main.ts", ...args),
      cwd: new URL("../..", import.meta.url),
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
    options: ProgramOptions = {},
  ): Promise<Program> {
    const data = new URL("../../data", import.meta.url).pathname;
    await Deno.mkdir(data, { recursive: true });
    const directory = await Deno.makeTempDir({ dir: data, prefix: "test-" });
    return new Program(args, { TALLY_GRPC_PORT: "0", TALLY_HTTP_PORT: "0", ...env }, directory, options);
  }

  /** The next log line with this message. */
  async line(message: string): Promise<LogLine> {
    for (;;) {
      const { value, done } = await withinTime(this.#lines.next(), `no line says "${message}" in a minute`);
      if (done) {
        throw new Error(`no line says "${message}"; found ${JSON.stringify(this.seen)} ${await this.stderr}`);
      }
      const line = JSON.parse(value.replaceAll("\0", "")) as LogLine;
      this.seen.push(line);
      if (line.message === message) return line;
    }
  }

  signal(signal: "SIGHUP" | "SIGINT" | "SIGTERM" | "SIGKILL" | "SIGUSR2"): void {
    this.#child.kill(signal);
  }

  /** Its exit code; unlike {@linkcode end}, reads nothing. */
  get status(): Promise<number> {
    return this.#child.status.then(({ code }) => code);
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
    if (!this.#child.stdout.locked) await this.#child.stdout.cancel();
    await this.stderr;
    await Deno.remove(this.#directory, { recursive: true });
  }
}

async function withinTime<T>(work: Promise<T>, tooLate: string): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(tooLate)), 60_000);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
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
