/**
 * Where an ingest runs: killed, stopped and started again.
 *
 * @module
 */
import type { Random } from "../support/random.ts";
import { TallyProcess } from "../support/tally_process.ts";
import type { FakedClock } from "./faked_clock.ts";

/** The place of one ingest: when its process has been ended, another takes the place. */
export class IngestPlace implements AsyncDisposable {
  /** `changing`: on its way down or up. */
  state: "up" | "stopped" | "changing" = "changing";
  #process: TallyProcess | undefined;

  /** `violated` is called when a process ends in a way it should not; `clock` is the processes'. */
  constructor(
    readonly settings: Readonly<Record<string, string>>,
    readonly violated: (what: string) => void,
    readonly clock: FakedClock | undefined,
  ) {}

  /** While there is one. */
  get process(): TallyProcess | undefined {
    return this.state === "changing" ? undefined : this.#process;
  }

  /** Port of the process, while there is one that takes connections. */
  get port(): number | undefined {
    return this.state === "changing" ? undefined : this.#process?.port;
  }

  /** Starts a process; resolves when it listens. */
  async start(): Promise<void> {
    await this.clock?.set(0); // the right time at its start, whatever the process before it had
    const process = this.#process = await TallyProcess.start("ingest", this.settings, this.clock?.command);
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

  /** SIGTERM, which must end it with exit code 0; with 1 if it was late because the store failed meanwhile. */
  async terminate(): Promise<void> {
    const process = this.#process!;
    const { code, signal } = await this.#end("SIGTERM");
    if (code === 0 || (code === 1 && wasLateForTheStore(process.output))) return;
    this.violated(`an ingest ended with ${signal ?? code} after SIGTERM:\n${process.output.join("\n")}`);
  }

  /** SIGKILL for one of the workers; the process that keeps them starts another. False: there is none. */
  async kill9Worker(random: Random): Promise<boolean> {
    const { pids = [] } = this.#process ?? {};
    if (pids.length === 0) return false;
    const [pid] = pids.splice(random.int(0, pids.length - 1), 1);
    return await signalled("KILL", pid!);
  }

  /** SIGSTOP, also for workers: connections stay open, and afterwards it does not know that it was away. */
  async pause(): Promise<void> {
    this.state = "stopped";
    await this.#signalAll("STOP");
  }

  /** SIGCONT. */
  async resume(): Promise<void> {
    await this.#signalAll("CONT");
    this.state = "up";
  }

  /** The workers are looked up when the process that starts them is stopped: one may be new, and not listen yet. */
  async #signalAll(signal: "STOP" | "CONT"): Promise<void> {
    const pid = this.#process?.pid;
    if (pid === undefined) return;
    await signalled(signal, pid);
    for (const child of await childrenOf(pid)) await signalled(signal, child);
  }

  /** Kills what runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end("SIGKILL");
  }

  async #end(signal: Deno.Signal): Promise<Deno.CommandStatus> {
    // Workers that are stopped would not notice.
    if (this.state === "stopped") await this.resume();
    this.state = "changing";
    const process = this.#process;
    process?.kill(signal);
    return await process?.ended ?? { success: true, code: 0, signal: null };
  }
}

/** Sends a signal; false: there is no such process any more. */
async function signalled(signal: "KILL" | "STOP" | "CONT", pid: number): Promise<boolean> {
  const { success } = await new Deno.Command("kill", { args: ["-s", signal, String(pid)], stderr: "null" })
    .output();
  return success;
}

/** The processes that `parent` has started. */
async function childrenOf(parent: number): Promise<number[]> {
  const { stdout } = await new Deno.Command("sh", { args: ["-c", "ps -A -o pid= -o ppid="] }).output();
  const rows = new TextDecoder().decode(stdout).trim().split("\n").map((line) =>
    line.trim().split(/\s+/).map(Number)
  );
  return rows.filter(([, ppid]) => ppid === parent).map(([pid]) => pid!);
}

/** Whether the store failed when the process was to end, or later. */
function wasLateForTheStore(output: readonly string[]): boolean {
  // Of a long drain only the last lines are kept.
  const drain = output.slice(Math.max(0, output.findIndex((line) => line.includes('"stopping"'))));
  return drain.some((line) => line.includes("could not stop within")) &&
    drain.some((line) => /"message":"store (fails|is back)|"storeError":"could not/.test(line));
}
