/**
 * Where an ingest runs: killed, stopped and started again.
 *
 * @module
 */
import { TallyProcess } from "../tally_process.ts";

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
