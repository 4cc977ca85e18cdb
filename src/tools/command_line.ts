/**
 * Shared by the command-line tools: flags, exit codes, and the form of numbers.
 *
 * @module
 */
import { isTarget } from "../client/client_options.ts";
import { custom, type Setting, type SettingTable, type Values } from "../runtime/settings.ts";
import { ConfigError, type ParseResult, parseSettings } from "../runtime/settings_parser.ts";
import { settingsHelp } from "../runtime/settings_text.ts";

/** Where to send. */
export const targetFlag: Setting<string> = custom("--target", {
  default: "localhost:50051",
  help: "Host and port of the ingest to send to.",
}, {
  allowed: "host:port, as in localhost:50051 or [::1]:50051",
  parse: (text) => isTarget(text) ? text : undefined,
});

/** A number above 0, such as packets per second. */
export function rateFlag(
  name: string,
  about: { default: string; help: string },
): Setting<number> {
  return custom(name, about, {
    allowed: "a number above 0, up to 1000000",
    parse: (text) => {
      const rate = /^\d+(\.\d+)?$/.test(text) ? Number(text) : 0;
      return rate > 0 && rate <= 1_000_000 ? rate : undefined;
    },
  });
}

/**
 * The flags' values, with `crossChecks` as in `parseSettings`; or the exit code, when there is nothing to do:
 * 0 after `--help`, 2 when flags are wrong, all of which are printed then.
 */
export function readFlags<Table extends SettingTable>(
  usage: string,
  table: Table,
  args: readonly string[],
  crossChecks?: (result: ParseResult<Table>) => string[],
): Values<Table> | number {
  if (args.includes("--help") || args.includes("-h")) {
    console.log(`${usage}\n\n${settingsHelp(table)}`);
    return 0;
  }
  try {
    return parseSettings(table, { args, env: () => undefined }, crossChecks).values;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    console.error(`Cannot start: wrong flags (--help lists them all).\n\n  ${error.problems.join("\n  ")}`);
    return 2;
  }
}

/** `1,234,567` */
export function formatted(count: number): string {
  return count.toLocaleString("en-US");
}

/** `1 packet`, `2 packets` */
export function packets(count: number): string {
  return `${formatted(count)} ${count === 1 ? "packet" : "packets"}`;
}
