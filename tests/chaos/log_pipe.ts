/** @module */

/**
 * Fills what `pid` writes its log and its errors to, and keeps it full until it is disposed. Linux only: that has
 * `/proc`.
 */
export class FullPipes implements AsyncDisposable {
  readonly #fillers: readonly Deno.ChildProcess[];

  /** Nobody may read the pipes meanwhile. */
  constructor(pid: number) {
    this.#fillers = [1, 2].map((fd) =>
      new Deno.Command("sh", {
        args: ["-c", `exec yes '' >/proc/${pid}/fd/${fd}`],
        stdin: "null",
        stdout: "null",
        stderr: "null",
      }).spawn()
    );
  }

  /** Whether this machine has what it needs. */
  static readonly isPossible: boolean = Deno.build.os === "linux";

  async [Symbol.asyncDispose](): Promise<void> {
    for (const filler of this.#fillers) {
      try {
        filler.kill("SIGKILL");
      } catch {
        // It has ended: so has what it wrote to.
      }
      await filler.status;
    }
  }
}
