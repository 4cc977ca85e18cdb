/**
 * Clients in Python, with code generated from a proto file: what people use who do not use Tally's own.
 *
 * @module
 */

/** A folder with Python programs, removed at the end. */
export class PythonFolder implements AsyncDisposable {
  private constructor(readonly path: string) {}

  static async make(files: Record<string, string>): Promise<PythonFolder> {
    const folder = new PythonFolder(await Deno.makeTempDir());
    for (const [name, text] of Object.entries(files)) {
      const path = `${folder.path}/${name}`;
      await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
      await Deno.writeTextFile(path, text);
    }
    return folder;
  }

  /** Generates a proto file's messages and stubs next to it. `protoPath`: what imports are named after. */
  async protoc(protoPath: string, file: string): Promise<void> {
    await output("sh", [
      "-c",
      `protoc -I ${protoPath} --python_out=${this.path} --grpc_out=${this.path} \\
      --plugin=protoc-gen-grpc="$(command -v grpc_python_plugin)" ${file}`,
    ]);
  }

  /** Runs a command here, as typed; rejects with its errors if it fails. */
  async shell(command: string): Promise<void> {
    await output("sh", ["-c", `cd '${this.path}' && ${command}`]);
  }

  /** What a program here prints; rejects with its errors if it fails. */
  run(program: string, ...args: string[]): Promise<string> {
    return output("/usr/bin/python3", [`${this.path}/${program}`, ...args]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

async function output(program: string, args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, { args, stdin: "null" }).output();
  if (!success) throw new Error(`${program} failed: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}
