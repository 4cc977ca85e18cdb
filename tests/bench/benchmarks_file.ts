/**
 * Figures in `.github/BENCHMARKS.md`, between comments that name what wrote them.
 *
 * @module
 */

/** Writes `text` to the document between `<!-- name: … -->` and `<!-- /name -->`. */
export async function writeBenchmarks(name: string, text: string): Promise<void> {
  const file = new URL("../../.github/BENCHMARKS.md", import.meta.url);
  const document = await Deno.readTextFile(file);
  const section = new RegExp(`(<!-- ${name}:.*-->\\n)[^]*?(<!-- /${name} -->)`);
  if (!section.test(document)) throw new Error(`BENCHMARKS.md has no <!-- ${name}: … --> <!-- /${name} -->`);
  await Deno.writeTextFile(file, document.replace(section, (_, start, end) => `${start}\n${text}\n${end}`));
}
