/**
 * `deno task backup`: copies the SQLite file while Tally runs.
 *
 * Exit codes: 0 when the copy is there, 1 when it failed, 2 for wrong settings.
 *
 * @module
 */
import { settings } from "./config/config.ts";
import { messageOf } from "./runtime/error_text.ts";
import { optional, path } from "./runtime/settings.ts";
import { ConfigError, parseSettings } from "./runtime/settings_parser.ts";
import { settingsHelp } from "./runtime/settings_text.ts";
import { backupSqliteFile } from "./store/sqlite/backup.ts";

const { databasePath, redisUrl, redisHost } = settings;

const flags = {
  databasePath,
  redisUrl,
  redisHost,
  to: optional(path("--to", {
    default: "",
    help: "File to make; without it tally-<UTC time>.db in data/backup.",
  })),
};

const usage = `deno task backup [flags]: copies the SQLite file of a Tally that may run meanwhile, and
checks the copy. Its folder needs the permission to be written: data/ has it.`;

if (import.meta.main) Deno.exit(await main());

async function main(): Promise<number> {
  if (Deno.args.includes("--help") || Deno.args.includes("-h")) {
    console.log(`${usage}\n\n${settingsHelp({ databasePath, to: flags.to })}`);
    return 0;
  }
  try {
    const { values } = parseSettings(flags, { args: Deno.args, env: (name) => Deno.env.get(name) });
    if (values.redisUrl !== undefined || values.redisHost !== undefined) {
      throw new ConfigError([
        "REDIS_URL, REDIS_HOST: found a Redis, which has its own means; see Backup in .github/OPERATIONS.md",
      ]);
    }
    const to = values.to ?? `data/backup/tally-${new Date().toISOString().replaceAll(/[:.]/g, "-")}.db`;
    const bytes = await backupSqliteFile(values.databasePath, to);
    console.log(`${to}: ${bytes.toLocaleString("en-US")} bytes of ${values.databasePath}`);
    return 0;
  } catch (error) {
    console.error(
      error instanceof ConfigError ? `Cannot start: ${error.problems.join("\n  ")}` : messageOf(error),
    );
    return error instanceof ConfigError ? 2 : 1;
  }
}
