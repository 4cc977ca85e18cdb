/**
 * Tally's own program in child processes, as an operator runs it.
 *
 * @module
 */
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Lines of a process's output that are kept for when it ends in a way it should not. */
const KEPT_LINES = 30;

/** One process of `src/main.ts`. */
export class TallyProcess {
  /** The last lines it wrote. */
  readonly output: string[] = [];
  /** Resolves when it has ended and all it wrote has been read. */
  readonly ended: Promise<Deno.CommandStatus>;
  readonly #process: Deno.ChildProcess;
  readonly #listens = Promise.withResolvers<void>();
  readonly #workers: number;
  /** The processes that do the role's work: with `TALLY_INGEST_WORKERS`, those, and not the one that keeps them. */
  readonly pids: number[] = [];
  #port = 0;
  #over = false;
  /** Resolves when its output may be read. */
  #mayRead: Promise<void> | undefined;

  private constructor(
    role: "ingest" | "api",
    settings: Readonly<Record<string, string>>,
    wrapper: readonly string[],
  ) {
    this.#workers = Number(settings["TALLY_INGEST_WORKERS"] ?? 1);
    const permissions = this.#workers > 1 ? ["-P=workers"] : [`-P=${role}`];
    // Deno starts no process with an LD_PRELOAD that it was not allowed to start any with.
    if (this.#workers > 1 && wrapper.length > 0) permissions.push("--allow-run");
    const [program, ...args] = [...wrapper, "deno"];
    this.#process = new Deno.Command(program!, {
      args: [...args, "run", ...permissions, "--quiet", "src/main.ts", "--role", role],
      cwd: root,
      env: {
        // An empty variable counts as not set: whoever runs this may have Tally's settings in the environment.
        REDIS_URL: "",
        REDIS_HOST: "",
        TALLY_GRPC_PORT: "0",
        TALLY_HTTP_PORT: "0",
        TALLY_LOG_FORMAT: "json",
        // glibc overwrites memory that is freed: if Deno's native code uses it again, it shows.
        MALLOC_PERTURB_: "165",
        ...settings,
      },
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const read = Promise.all([this.#read(this.#process.stdout), this.#read(this.#process.stderr)]);
    this.ended = this.#process.status.then(async (status) => {
      this.#over = true;
      await read;
      return status;
    });
  }

  /**
   * Starts a role; resolves when it listens: with `TALLY_INGEST_WORKERS`, a number, when all of them do. `wrapper`: a
   * program, and its first arguments, that replaces itself by the program that the further ones name.
   */
  static async start(
    role: "ingest" | "api",
    settings: Readonly<Record<string, string>>,
    wrapper: readonly string[] = [],
  ): Promise<TallyProcess> {
    const process = new TallyProcess(role, settings, wrapper);
    await Promise.race([process.#listens.promise, process.ended]);
    if (process.#over) throw new Error(`the ${role} ended at its start:\n${process.output.join("\n")}`);
    return process;
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Where it listens, and its workers do. */
  get port(): number {
    return this.#port;
  }

  /** Sends a signal, if it still runs. */
  kill(signal: Deno.Signal): void {
    if (!this.#over) this.#process.kill(signal);
  }

  /** Reads nothing more of what it writes until the function is called that this returns. */
  holdOutput(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#mayRead = promise;
    return resolve;
  }

  async #read(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    let rest = "";
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) this.#line(line);
      await this.#mayRead;
    }
    if (rest !== "") this.#line(rest);
  }

  #line(line: string): void {
    if (line === "") return;
    this.output.push(line);
    if (this.output.length > KEPT_LINES) this.output.shift();
    if (!/"message":"(ingest|api) listening"/.test(line)) return;
    const { port, pid = this.pid } = JSON.parse(line);
    this.#port = port;
    this.pids.push(pid);
    if (this.pids.length >= this.#workers) this.#listens.resolve();
  }
}
