/**
 * The command-line programs as a user runs them: processes of their own, with their tasks' permissions.
 *
 * @module
 */

/** A command-line program that runs. Kills it, if that is still needed, at the end. */
export class Tool implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  /** What it has printed so far. */
  stdout = "";
  /** As above. */
  stderr = "";
  readonly #read: Promise<unknown>;

  constructor(
    script: string,
    args: readonly string[],
    permissions = "device",
    env: Record<string, string> = {},
    root = new URL("../..", import.meta.url).pathname,
  ) {
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-prompt", `-P=${permissions}`, `src/${script}.ts`, ...args],
      cwd: root,
      env: { NO_COLOR: "1", REDIS_URL: "", REDIS_HOST: "", REDIS_PORT: "", ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const read = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>, add: (text: string) => void) => {
      for await (const text of stream.pipeThrough(new TextDecoderStream())) add(text);
    };
    this.#read = Promise.all([
      read(this.#child.stdout, (text) => this.stdout += text),
      read(this.#child.stderr, (text) => this.stderr += text),
    ]);
  }

  signal(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** Its exit code, when it has ended and all it printed is here. */
  async end(): Promise<number> {
    const { code } = await this.#child.status;
    await this.#read;
    return code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended by itself.
    }
    await this.end();
  }
}

/** A folder where the tools may write. */
export async function dataFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const data = new URL("../../data", import.meta.url).pathname;
  await Deno.mkdir(data, { recursive: true });
  const path = await Deno.makeTempDir({ dir: data, prefix: "test-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}
