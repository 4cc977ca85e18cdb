/**
 * A clock of one process that can be set: its wall clock, and not the monotonic one.
 *
 * @module
 */

/** Finds libfaketime; undefined: it is not installed. Debian has one folder per architecture. */
export async function findFaketime(): Promise<string | undefined> {
  const folders = ["/usr/lib/faketime"];
  try {
    for await (const { name } of Deno.readDir("/usr/lib")) folders.push(`/usr/lib/${name}/faketime`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  for (const folder of folders) {
    const library = `${folder}/libfaketimeMT.so.1`;
    if (await Deno.stat(library).then(() => true, () => false)) return library;
  }
  return undefined;
}

/** See the module. */
export class FakedClock {
  /** What a program and its arguments are given to, to run with this clock. */
  readonly command: readonly string[];

  private constructor(library: string, readonly file: string) {
    this.command = [
      "env",
      `LD_PRELOAD=${library}`,
      `FAKETIME_TIMESTAMP_FILE=${file}`,
      // The file is read at each look at the clock, which then takes 5 µs: a jump shows at once.
      "FAKETIME_NO_CACHE=1",
      "FAKETIME_DISABLE_SHM=1",
      "DONT_FAKE_MONOTONIC=1",
      "NO_FAKE_STAT=1",
    ];
  }

  /** A clock that is right, as `file` states. */
  static async make(library: string, file: string): Promise<FakedClock> {
    const clock = new FakedClock(library, file);
    await clock.set(0);
    return clock;
  }

  /** The clock differs by that much from the machine's, whole seconds. */
  async set(offsetSeconds: number): Promise<void> {
    // In one step: the process may read the file at any moment.
    const file = `${this.file}.${crypto.randomUUID()}`;
    await Deno.writeTextFile(file, `${offsetSeconds < 0 ? "" : "+"}${offsetSeconds}\n`);
    await Deno.rename(file, this.file);
  }
}
