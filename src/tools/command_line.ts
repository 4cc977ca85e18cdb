/**
 * Shared by the command-line tools: flags, exit codes, and the form of numbers.
 *
 * @module
 */
import { assertToken, isTarget, type KeepAcked, type TokenSource } from "../client/client_options.ts";
import { messageOf } from "../runtime/error_text.ts";
import { parseDuration } from "../runtime/quantity.ts";
import { custom, optional, path, type Setting, type SettingTable, type Values } from "../runtime/settings.ts";
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

/** Which acknowledged packets to keep; see the client's option `keepAcked`, which bounds their bytes too. */
export const keepAckedFlag: Setting<KeepAcked | undefined> = optional(custom("--keep-acked", {
  default: "",
  help:
    "Acknowledged packets to keep, to send them again to a store that lost them: the last so many, or so long.",
}, {
  allowed: "a number of packets up to 1000000, as in 10000, or a duration up to 24h, as in 10s",
  parse: parseKeepAcked,
}));

function parseKeepAcked(text: string): KeepAcked | undefined {
  const packets = /^\d{1,7}$/.test(text) ? Number(text) : 0, durationMs = parseDuration(text) ?? 0;
  if (packets > 0 && packets <= 1_000_000) return { packets };
  return durationMs > 0 && durationMs <= 24 * 3_600_000 ? { durationMs } : undefined;
}

/** What authenticates the sender. */
export const tokenFlags = {
  token: optional(custom("--token", {
    default: "",
    help: "Token, or JWT, that authenticates the device. Other users of the machine can see it.",
  }, {
    allowed: "printable ASCII without spaces",
    secret: true,
    parse: (text) => isSendable(text) ? text : undefined,
  })),
  tokenFile: optional(path("--token-file", {
    default: "",
    help: "File with that token, read for each connection. The task may use paths below data/.",
  })),
} as const;

/** The client's option for {@linkcode tokenFlags}. */
export function tokenOption(
  { token, tokenFile }: Values<typeof tokenFlags>,
): { readonly token?: string | TokenSource } {
  if (tokenFile !== undefined) return { token: () => readToken(tokenFile) };
  return token === undefined ? {} : { token };
}

/** What is wrong with {@linkcode tokenFlags} together, and with the file. */
export function tokenProblems({ values, source }: ParseResult<typeof tokenFlags>): string[] {
  if (source.token !== undefined && source.tokenFile !== undefined) {
    return [`${source.token} and ${source.tokenFile}: found both; set one of them`];
  }
  const file = values.tokenFile;
  if (file === undefined || Deno.permissions.querySync({ name: "read", path: file }).state === "granted") {
    return [];
  }
  return [`${source.tokenFile}: found ${JSON.stringify(file)}; the task may read paths below data/ only`];
}

async function readToken(file: string): Promise<string> {
  try {
    return (await Deno.readTextFile(file)).trim();
  } catch (cause) {
    throw new Error(`could not read ${file}: ${messageOf(cause)}`, { cause });
  }
}

function isSendable(token: string): boolean {
  try {
    assertToken(token);
    return true;
  } catch {
    return false;
  }
}

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
