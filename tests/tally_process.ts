/**
 * Tally's own program in child processes, as an operator runs it.
 *
 * @module
 */
import { fileURLToPath } from "node:url";

import { until } from "../until.ts";

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
  #port: number | undefined;
  #over = false;

  private constructor(role: "ingest" | "api", settings: Readonly<Record<string, string>>) {
    this.#process = new Deno.Command("deno", {
      args: ["run", `-P=${role}`, "--quiet", "src/main.ts", "--role", role],
      cwd: root,
      // An empty variable counts as not set: whoever runs this may have Tally's settings in the environment.
      env: { REDIS_URL: "", GRPC_PORT: "0", HTTP_PORT: "0", LOG_FORMAT: "json", ...settings },
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

  /** Starts a role; resolves when it listens. */
  static async start(
    role: "ingest" | "api",
    settings: Readonly<Record<string, string>>,
  ): Promise<TallyProcess> {
    const process = new TallyProcess(role, settings);
    try {
      await until(() => {
        if (process.#over) throw new Error(`the ${role} ended at its start:\n${process.output.join("\n")}`);
        return process.#port !== undefined;
      }, `the ${role} listens`);
    } catch (error) {
      process.kill("SIGKILL");
      await process.ended;
      throw error;
    }
    return process;
  }

  /** Where it listens. */
  get port(): number {
    return this.#port!;
  }

  /** Sends a signal, if it still runs. */
  kill(signal: Deno.Signal): void {
    if (!this.#over) this.#process.kill(signal);
  }

  async #read(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    let rest = "";
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) this.#line(line);
    }
    if (rest !== "") this.#line(rest);
  }

  #line(line: string): void {
    this.output.push(line);
    if (this.output.length > KEPT_LINES) this.output.shift();
    if (this.#port === undefined && /"message":"(ingest|api) listening"/.test(line)) {
      this.#port = JSON.parse(line).port;
    }
  }
}

/** The place of one ingest: when its process has been ended, another takes the place. */
export class IngestPlace implements AsyncDisposable {
  /** `changing`: on its way down or up. */
  state: "up" | "stopped" | "changing" = "changing";
  #process: TallyProcess | undefined;

  /** `violated` is told when a process ends in a way it should not. */
  constructor(
    readonly settings: Readonly<Record<string, string>>,
    readonly violated: (what: string) => void,
  ) {}

  /** Port of the process, while there is one that takes connections. */
  get port(): number | undefined {
    return this.state === "changing" ? undefined : this.#process?.port;
  }

  /** Starts a process; resolves when it listens. */
  async start(): Promise<void> {
    const process = this.#process = await TallyProcess.start("ingest", this.settings);
    this.state = "up";
    process.ended.then(({ code, signal }) => {
      if (this.state === "changing") return;
      this.state = "changing";
      this.violated(`an ingest ended by itself (${signal ?? code}):\n${process.output.join("\n")}`);
    });
  }

  /** SIGKILL. */
  async kill9(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** SIGTERM, which must end it with exit code 0. */
  async terminate(): Promise<void> {
    const process = this.#process!;
    const { code, signal } = await this.#end("SIGTERM");
    if (code === 0) return;
    this.violated(`an ingest ended with ${signal ?? code} after SIGTERM:\n${process.output.join("\n")}`);
  }

  /** SIGSTOP: connections stay open, and afterwards it does not know that it was away. */
  pause(): void {
    this.state = "stopped";
    this.#process?.kill("SIGSTOP");
  }

  /** SIGCONT. */
  resume(): void {
    this.#process?.kill("SIGCONT");
    this.state = "up";
  }

  /** Kills what runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end("SIGKILL");
  }

  async #end(signal: Deno.Signal): Promise<Deno.CommandStatus> {
    this.state = "changing";
    const process = this.#process;
    process?.kill(signal);
    return await process?.ended ?? { success: true, code: 0, signal: null };
  }
}
