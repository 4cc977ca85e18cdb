/**
 * The files of `src`, for the tests of what holds for all of them.
 *
 * @module
 */

const root = new URL("../..", import.meta.url);

/** Paths from the repository's root of all files below `folder` whose name ends with one of `extensions`. */
export function sourceFiles(extensions: readonly string[], folder = "src"): string[] {
  return Array.from(Deno.readDirSync(new URL(folder, root)))
    .flatMap(({ name, isDirectory }) => {
      const path = `${folder}/${name}`;
      if (isDirectory) return sourceFiles(extensions, path);
      return extensions.some((extension) => name.endsWith(`.${extension}`)) ? [path] : [];
    })
    .sort();
}

/** The text of a file that {@linkcode sourceFiles} found. */
export function sourceText(path: string): string {
  return Deno.readTextFileSync(new URL(path, root));
}
