/**
 * What the README and `.github/CONFIGURATION.md` repeat from the code is as in the code.
 * `deno task readme` runs this with `--update`, which writes it anew instead.
 */
import { assert, assertEquals } from "@std/assert";

import { settings } from "../src/config/config.ts";
import { commonSettingsMarkdown, settingsMarkdown } from "../src/runtime/settings_text.ts";

const readme = new URL("../README.md", import.meta.url);
const page = new URL("../.github/CONFIGURATION.md", import.meta.url);
const section = /(<!-- settings:.*-->\n)([^]*?)(<!-- \/settings -->)/;

/** `.github/CONFIGURATION.md`. */
const configurationPage = `# Configuration

<!-- Written by \`deno task readme\` from src/config/config.ts. -->

Each setting is an environment variable and a flag (\`TALLY_GRPC_PORT\` and \`--grpc-port\`); a flag takes
precedence, an empty variable counts as not set. Wrong values are refused at the start, all at once.
\`deno task start --help\` prints the same.

The names that variables had without \`TALLY_\` (\`GRPC_PORT\`) are read for one release, with a warning.

${settingsMarkdown(settings)}`;

const isUpdate = Deno.args.includes("--update");

Deno.test("README.md's table has the settings that most users set", async () => {
  const text = await Deno.readTextFile(readme);
  const found = section.exec(text);
  assert(found !== null, "README.md has no <!-- settings: … --> <!-- /settings -->");
  const expected = `\n${commonSettingsMarkdown(settings)}\n`;
  if (isUpdate) {
    await Deno.writeTextFile(readme, text.replace(section, (_, start, _old, end) => start + expected + end));
  } else {
    assertEquals(found[2], expected, "README.md's table is out of date: run deno task readme");
  }
  const common = Object.values(settings).filter(({ common }) => common);
  assert(common.length > 10 && common.length < 20, `${common.length} settings`);
  for (const { env, flag } of common) assert(expected.includes(`\`${env ?? `--${flag}`}\``), flag);
});

Deno.test(".github/CONFIGURATION.md has all settings", async () => {
  if (isUpdate) await Deno.writeTextFile(page, configurationPage);
  const hint = ".github/CONFIGURATION.md is out of date: run deno task readme";
  assertEquals(await Deno.readTextFile(page), configurationPage, hint);
  for (const { env, flag, hidden } of Object.values(settings)) {
    assertEquals(configurationPage.includes(`| \`${env ?? `--${flag}`}\` `), !hidden, flag);
  }
});
