/**
 * What the README repeats from the code is what the code says. `deno task readme` runs this with
 * `--update`, which writes it anew instead.
 */
import { assert, assertEquals } from "@std/assert";

import { configTable } from "../src/config.ts";

const file = new URL("../.github/CONFIGURATION.md", import.meta.url);
const settingsSection = /(<!-- settings:.*-->\n)([^]*?)(<!-- \/settings -->)/;

Deno.test("settingsMarkdown(): the README's configuration table is up to date", async () => {
  const readme = await Deno.readTextFile(file);
  const section = settingsSection.exec(readme);
  assert(section !== null, "README.md has no <!-- settings: … --> <!-- /settings -->");
  const expected = `\n${configTable()}\n`;
  if (Deno.args.includes("--update")) {
    await Deno.writeTextFile(
      file,
      readme.replace(settingsSection, (_, start, _old, end) => start + expected + end),
    );
  } else {
    assertEquals(section[2], expected, "README.md's table is out of date: run deno task readme");
  }
});
