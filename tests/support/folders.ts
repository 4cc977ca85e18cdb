/**
 * Folders for the files of one test.
 *
 * @module
 */

/** Runs `body` with an empty folder, and removes it. */
export async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "tally-" });
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Runs `body` with the path of a database that is not there yet, in a folder of its own. */
export function withFile(body: (path: string) => Promise<void>): Promise<void> {
  return withFolder((folder) => body(`${folder}/tally.db`));
}

/** Copies a file that is not open, or notes that there is none; the function it resolves to restores that. */
export async function copyOf(path: string): Promise<() => Promise<void>> {
  const bytes = await Deno.readFile(path).catch(() => undefined);
  return async () => {
    if (bytes === undefined) await Deno.remove(path);
    else await Deno.writeFile(path, bytes);
  };
}
