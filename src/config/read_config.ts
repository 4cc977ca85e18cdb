/**
 * Reads the settings at the start of a process: from arguments and environment to {@linkcode Config}.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import { type Config, settings } from "./config.ts";
import { crossChecks } from "./checks.ts";
import { formerNames } from "./former_names.ts";
import { ConfigError, parseSettings, type RenamedVariable } from "../runtime/settings_parser.ts";
import { settingsHelp } from "../runtime/settings_text.ts";

/** The settings, and what to warn of once there is a log. */
export interface ParsedConfig {
  /** The settings. */
  readonly config: Config;
  /** Variables that are set under a former name. */
  readonly renamed: readonly RenamedVariable[];
}

/**
 * The settings from flags, environment and defaults, in this order of precedence.
 *
 * @throws {ConfigError} with everything that is wrong, not only the first.
 */
export function parseConfig(
  args: readonly string[],
  env: (name: string) => string | undefined,
): ParsedConfig {
  const { values, renamed } = parseSettings(settings, { args, env, formerNames }, crossChecks);
  return { config: values, renamed };
}

/**
 * As {@linkcode parseConfig}; the exit code when there is nothing to run: 0 after `--help`, 2 for wrong
 * settings, all of which are printed.
 */
export function readConfig(
  args: readonly string[],
  env: (name: string) => string | undefined,
): ParsedConfig | number {
  if (args.includes("--help") || args.includes("-h")) {
    console.log(helpText());
    return 0;
  }
  try {
    return parseConfig(args, env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    console.error(
      `Cannot start: wrong settings (--help lists them all).\n\n  ${error.problems.join("\n  ")}`,
    );
    return 2;
  }
}

/** Logs a warning for each variable that is set under a former name. */
export function warnOfFormerNames(renamed: readonly RenamedVariable[], log: Logger): void {
  for (const { found, use, ignored } of renamed) {
    if (ignored === undefined) {
      log.warn("variable was renamed: its former name is read for one release", { found, use });
    } else log.warn("variable was renamed: its former name is ignored", { found, use, reason: ignored });
  }
}

/** The text of `--help`. */
export function helpText(): string {
  return `Tally: real-time telemetry for device fleets.

Usage: deno task start [flags]     both roles in one process
       deno task ingest [flags]    receives packets over gRPC
       deno task workers [flags]   the same, in one process per core
       deno task api [flags]       serves what is counted over HTTP

Each setting is a flag or an environment variable. A flag takes precedence; an
empty variable counts as not set.

${settingsHelp(settings)}`;
}
