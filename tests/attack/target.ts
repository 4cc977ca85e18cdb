/**
 * What is attacked: Tally's own ingest in a process of its own, with a fresh SQLite file; what it uses, and
 * what it counted.
 *
 * @module
 */
import { DatabaseSync } from "node:sqlite";
import { fileURLToPath } from "node:url";

import { TallyProcess } from "../support/tally_process.ts";

/** What a process has used, so far. */
export interface Usage {
  /** Of all its threads. */
  readonly cpuSeconds: number;
  /** Resident set: now, and at its highest. */
  readonly memoryBytes: number;
  readonly peakMemoryBytes: number;
}

/** How long an orderly stop may take before the process is killed. */
const STOP_TIMEOUT_MS = 20_000;

/** Linux's clock ticks per second (`getconf CLK_TCK`), the same on all its platforms. */
const TICKS_PER_SECOND = 100;

/** An ingest, until it goes out of scope. */
export class Target implements AsyncDisposable {
  /** It has not ended. */
  lives = true;
  readonly #folder: string;
  readonly #tally: TallyProcess;

  private constructor(folder: string, tally: TallyProcess) {
    this.#folder = folder;
    this.#tally = tally;
    tally.ended.then(() => this.lives = false);
  }

  /** Starts it; resolves when it listens. `more`: settings besides the usual. */
  static async start(more: Readonly<Record<string, string>> = {}): Promise<Target> {
    const data = fileURLToPath(new URL("../../data", import.meta.url)); // where Tally may write
    await Deno.mkdir(data, { recursive: true });
    const folder = await Deno.makeTempDir({ dir: data, prefix: "attack-" });
    const settings = { TALLY_DB: `${folder}/tally.db`, MALLOC_PERTURB_: "0", TALLY_LOG_LEVEL: "info" };
    return new Target(folder, await TallyProcess.start("ingest", { ...settings, ...more }));
  }

  /** Where it takes packets. */
  get port(): number {
    return this.#tally.port;
  }

  /** What it wrote last, for when it has ended. */
  get output(): string {
    return this.#tally.output.join("\n");
  }

  /** What it has used; undefined when it has ended, or where the system has no `/proc`. */
  async usage(): Promise<Usage | undefined> {
    const folder = `/proc/${this.#tally.pid}`;
    // Not read by this process: Deno allows that only to one that may do everything.
    const command = new Deno.Command("cat", { args: [`${folder}/stat`, `${folder}/status`], stderr: "null" });
    const { success, stdout } = await command.output();
    if (!success) return undefined;
    const text = new TextDecoder().decode(stdout);
    const [user, system] = text.slice(text.indexOf(")")).split(" ").slice(12, 14).map(Number);
    const kilobytes = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(text)?.[1]);
    return {
      cpuSeconds: (user! + system!) / TICKS_PER_SECOND,
      memoryBytes: kilobytes("VmRSS") * 1024,
      peakMemoryBytes: kilobytes("VmHWM") * 1024,
    };
  }

  /** Stops it as an operator does; resolves to whether it ended well by itself. */
  async stop(): Promise<boolean> {
    this.#tally.kill("SIGTERM");
    const timer = setTimeout(() => this.#tally.kill("SIGKILL"), STOP_TIMEOUT_MS);
    const { success } = await this.#tally.ended;
    clearTimeout(timer);
    return success;
  }

  /** What its store holds of the devices whose ids begin so. */
  counted(prefix: string): number {
    return this.#read(`SELECT ifnull(sum(count), 0) AS n FROM devices WHERE device_id GLOB '${prefix}*'`);
  }

  /** Devices that its store has. */
  devices(): number {
    return this.#read("SELECT count(*) AS n FROM devices");
  }

  /** Sessions that its store has claimed. */
  sessions(): number {
    return this.#read("SELECT count(*) AS n FROM sessions");
  }

  /** Device streams open, as the ingest reports once a second. */
  openStreams(): number {
    return this.#read("SELECT report ->> '$.openStreams' AS n FROM instances");
  }

  #read(query: string): number {
    // What wrote it may have been killed: its journal has to be read, which takes the right to write.
    using database = new DatabaseSync(`${this.#folder}/tally.db`);
    return Number(database.prepare(query).get()?.["n"]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#tally.kill("SIGKILL");
    await this.#tally.ended;
    await Deno.remove(this.#folder, { recursive: true });
  }
}
