/**
 * Figures in the README, between comments that name what wrote them.
 *
 * @module
 */

/** Writes `text` to the README between `<!-- name: … -->` and `<!-- /name -->`. */
export async function writeReadmeSection(name: string, text: string): Promise<void> {
  const file = new URL("../../README.md", import.meta.url);
  const readme = await Deno.readTextFile(file);
  const section = new RegExp(`(<!-- ${name}:.*-->\\n)[^]*?(<!-- /${name} -->)`);
  if (!section.test(readme)) throw new Error(`README.md has no <!-- ${name}: … --> <!-- /${name} -->`);
  await Deno.writeTextFile(file, readme.replace(section, (_, start, end) => `${start}\n${text}\n${end}`));
}
