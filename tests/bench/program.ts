/**
 * Programs that are measured beside Tally, where they are installed.
 *
 * @module
 */
import { until } from "../support/until.ts";

/** How long a program may take until it listens. */
const START_TIMEOUT_SECONDS = 30;

/** A program with a port, at work until it goes out of scope. */
export class Program implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  #ended = false;

  private constructor(readonly command: string) {
    this.#process = new Deno.Command("sh", {
      args: ["-c", `exec ${command}`],
      stdout: "null",
      stderr: "null",
    })
      .spawn();
    this.#process.status.then(() => this.#ended = true);
  }

  /** Runs a command, as a shell has it; resolves when it listens on `port`. */
  static async start(command: string, port: number): Promise<Program> {
    const program = new Program(command);
    try {
      await until(
        async () => {
          if (program.#ended) throw new Error(`${command}: ended at its start`);
          return await Deno.connect({ hostname: "127.0.0.1", port }).then((connection) => {
            connection.close();
            return true;
          }, () => false);
        },
        `${command} listens`,
        START_TIMEOUT_SECONDS,
      );
    } catch (error) {
      await program[Symbol.asyncDispose]();
      throw error;
    }
    return program;
  }

  get pid(): number {
    return this.#process.pid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended) this.#process.kill("SIGKILL");
    await this.#process.status;
  }
}

/** Whether a program is on the PATH. */
export async function isInstalled(program: string): Promise<boolean> {
  const { success } = await new Deno.Command("sh", { args: ["-c", `command -v ${program}`], stdout: "null" })
    .output();
  return success;
}
