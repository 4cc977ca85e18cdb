/**
 * Settings of a program as data: from one table come the parsed values and their type, the help text
 * and the README's table. Knows no setting itself; `config.ts` has Tally's.
 *
 * Nothing here touches the process: arguments and environment are passed in.
 *
 * @module
 */
import { parseArgs } from "node:util";

/** One setting: where its text comes from, what is allowed, and what it is for. */
export interface Setting<Value> {
  /** Flag without dashes: `flush-interval`. */
  readonly flag: string;
  /** Environment variable, such as `FLUSH_INTERVAL`; undefined if only the flag sets it. */
  readonly env: string | undefined;
  /** The default as one would write it; undefined: not set unless given. */
  readonly default: string | undefined;
  /** Completes "allowed: …". */
  readonly allowed: string;
  /** Who it concerns, for the reader: `ingest`, `api`, `all`. */
  readonly scope: string;
  /** What it is for, one sentence or two. */
  readonly help: string;
  /** May hold a password: a wrong value is not shown. */
  readonly secret: boolean;
  /** The value of `text`, or undefined if it is not allowed. */
  parse(text: string): Value | undefined;
}

/** A program's settings by the name its code uses. */
export type SettingTable = Readonly<Record<string, Setting<unknown>>>;

/** What a table's settings come to: one property per setting, typed by its kind. */
export type Values<Table extends SettingTable> = {
  readonly [Key in keyof Table]: Table[Key] extends Setting<infer Value> ? Value : never;
};

/** Values that are right, and how each setting was given; `source` has only the settings that were. */
export interface Given<Table extends SettingTable> {
  /** The settings' values, without those that are wrong. */
  readonly values: Partial<Values<Table>>;
  /** How it was given, as the user wrote it: `--flush-interval` or `FLUSH_INTERVAL`. */
  readonly source: { readonly [Key in keyof Table]?: string };
}

/** Arguments or environment hold values that are not allowed; {@linkcode problems} has all of them. */
export class ConfigError extends Error {
  /** Tells it from other errors where `instanceof` cannot. */
  override readonly name = "ConfigError";
  /** One sentence each: name, value found, what is allowed. */
  readonly problems: readonly string[];

  /** Takes at least one problem. */
  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.problems = problems;
  }
}

/** What every setting says about itself besides its kind. */
export interface Description {
  /** The default as one would write it. */
  readonly default: string;
  /** Who it concerns. */
  readonly scope: string;
  /** What it is for. */
  readonly help: string;
}

/** Lowest and highest value allowed, both included, written as a value is. */
export interface Bounds {
  /** Lowest value allowed. */
  readonly min: string;
  /** Highest value allowed. */
  readonly max: string;
}

const durationUnits = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
const sizeUnits = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };

/** A length of time such as `500ms`, `60s`, `5m`, `24h`; the value is in milliseconds. */
export function duration(name: string, about: Description & Bounds): Setting<number> {
  return setting(name, about, {
    allowed: `a duration from ${about.min} to ${about.max}, as in 500ms, 60s, 5m, 24h`,
    parse: within(about, (text) => quantity(text, durationUnits)),
  });
}

/** A size such as `64KiB`, `16MiB`; the value is in bytes. */
export function size(name: string, about: Description & Bounds): Setting<number> {
  return setting(name, about, {
    allowed: `a size from ${about.min} to ${about.max}, as in 512B, 64KiB, 16MiB, 1GiB`,
    parse: within(about, (text) => quantity(text, sizeUnits)),
  });
}

/** A whole number. */
export function integer(name: string, about: Description & Bounds): Setting<number> {
  return setting(name, about, {
    allowed: `a whole number from ${about.min} to ${about.max}`,
    parse: within(about, wholeNumber),
  });
}

/** A whole number, or `auto` where the program chooses one. */
export function integerOrAuto(name: string, about: Description & Bounds): Setting<number | "auto"> {
  const { allowed, parse } = integer(name, about);
  return setting(name, about, {
    allowed: `${allowed}, auto`,
    parse: (text) => text === "auto" ? text : parse(text),
  });
}

/** A TCP port to listen on; 0 lets the system choose a free one. */
export function port(name: string, about: Description): Setting<number> {
  return setting(name, about, {
    allowed: "a port from 0 to 65535, where 0 takes a free one",
    parse: within({ min: "0", max: "65535" }, wholeNumber),
  });
}

/** A host name or an IP address, without a port. */
export function host(name: string, about: Description): Setting<string> {
  return setting(name, about, {
    allowed: "a host name or an IP address, without a port",
    parse: (text) => isHost(text) ? text : undefined,
  });
}

/** One of a few words. */
export function choice<const Word extends string>(
  name: string,
  words: readonly Word[],
  about: Description,
): Setting<Word> {
  return setting(name, about, {
    allowed: words.join(", "),
    parse: (text) => words.find((word) => word === text),
  });
}

/** A path in the file system. */
export function path(name: string, about: Description): Setting<string> {
  return setting(name, about, {
    allowed: "a path",
    parse: (text) => text.includes("\0") ? undefined : text,
  });
}

/** Text with a form of its own. `parse` answers undefined for what is not allowed. */
export function custom<Value>(
  name: string,
  about: Description,
  kind: { allowed: string; secret?: boolean; parse: (text: string) => Value | undefined },
): Setting<Value> {
  return setting(name, about, kind);
}

/** The same setting without a default: its value is undefined unless given. */
export function optional<Value>(setting: Setting<Value>): Setting<Value | undefined> {
  return { ...setting, default: undefined };
}

/**
 * Reads every setting: the flag (`--flag value` or `--flag=value`) wins over the environment, which
 * wins over the default. An empty variable counts as not set. `contradictions` names settings that are
 * right alone and wrong together; it is not given the values of those that are wrong alone.
 *
 * @throws {ConfigError} with everything that is wrong, not only the first.
 */
export function parseSettings<Table extends SettingTable>(
  table: Table,
  args: readonly string[],
  env: (name: string) => string | undefined,
  contradictions: (given: Given<Table>) => string[] = () => [],
): Values<Table> {
  const { flags, problems } = readFlags(table, args);
  const values: Record<string, unknown> = {};
  const source: Record<string, string> = {};
  for (const [key, setting] of Object.entries(table)) {
    const flag = flags.get(setting.flag);
    const variable = setting.env === undefined ? undefined : env(setting.env) || undefined;
    const text = flag ?? variable ?? setting.default;
    if (text === undefined) {
      values[key] = undefined;
      continue;
    }
    const name = flag !== undefined || setting.env === undefined ? `--${setting.flag}` : setting.env;
    if (flag !== undefined || variable !== undefined) source[key] = name;
    const value = setting.parse(text);
    if (value === undefined) {
      const found = setting.secret
        ? "a value not shown here, as it may hold a password"
        : JSON.stringify(text);
      problems.push(`${name}: found ${found}; allowed: ${setting.allowed}${causeOf(name, text)}`);
    }
    values[key] = value;
  }
  const given = { values, source } as Given<Table>;
  problems.push(...contradictions(given));
  if (problems.length > 0) throw new ConfigError(problems);
  // The loop above gave every key its own setting's value, which is what the type says.
  return values as Values<Table>;
}

/** Kubernetes gives each container the addresses of the namespace's services, in variables like `REDIS_PORT`. */
function causeOf(name: string, text: string): string {
  if (!name.endsWith("_PORT") || !/^(tcp|udp|sctp):\/\//.test(text)) return "";
  const service = name.slice(0, -"_PORT".length).toLowerCase().replaceAll("_", "-");
  return `; Kubernetes sets this variable for a service named "${service}": ` +
    `set ${name} yourself, or enableServiceLinks: false in the pod`;
}

/** What `--help` prints about the settings, two or three lines each. */
export function settingsHelp(table: SettingTable): string {
  return Object.values(table).map((setting) => {
    const names = [`--${setting.flag}`, ...(setting.env === undefined ? [] : [setting.env])].join(", ");
    return `  ${names}\n      ${setting.help}\n      ${
      setting.default === undefined ? "Not set by default" : `Default ${setting.default}`
    }; allowed: ${setting.allowed}. Concerns: ${setting.scope}.\n`;
  }).join("\n");
}

/** The README's table, in Markdown as `deno fmt` formats it. */
export function settingsMarkdown(table: SettingTable): string {
  const rows = [
    ["Setting", "Default", "Meaning", "Allowed", "Role"],
    ...Object.values(table).map((setting) =>
      [
        `\`${setting.env ?? `--${setting.flag}`}\``,
        setting.default === undefined ? "not set" : `\`${setting.default}\``,
        setting.help,
        setting.allowed,
        setting.scope,
      ].map((cell) => cell.replaceAll("|", "\\|"))
    ),
  ];
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const line = (cells: readonly string[], fill = " ") =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column]!, fill)).join(" | ")} |\n`;
  const [head, ...body] = rows;
  return line(head!) + line(widths.map(() => ""), "-") + body.map((row) => line(row)).join("");
}

/** `FLUSH_INTERVAL` names a variable and the flag `--flush-interval`; `--role` only a flag. */
function setting<Value>(
  name: string,
  about: Description,
  kind: { allowed: string; secret?: boolean; parse: (text: string) => Value | undefined },
): Setting<Value> {
  const flagOnly = name.startsWith("--");
  return {
    flag: flagOnly ? name.slice(2) : name.toLowerCase().replaceAll("_", "-"),
    env: flagOnly ? undefined : name,
    default: about.default,
    scope: about.scope,
    help: about.help,
    allowed: kind.allowed,
    secret: kind.secret ?? false,
    parse: kind.parse,
  };
}

function readFlags(table: SettingTable, args: readonly string[]) {
  const settings = Object.values(table);
  const options = Object.fromEntries(settings.map(({ flag }) => [flag, { type: "string" as const }]));
  const { tokens } = parseArgs({ args: [...args], options, strict: false, tokens: true });
  const flags = new Map<string, string>();
  const problems: string[] = [];
  let unknownAt = NaN;
  for (const token of tokens) {
    // What follows an unknown flag is most likely its value.
    if (token.kind === "positional" && token.index !== unknownAt + 1) {
      // It may be a URL with a password.
      const shown = token.value.replace(/\/\/.*@/, "//***@");
      problems.push(`${JSON.stringify(shown)}: found an argument that belongs to no flag; see --help`);
    } else if (token.kind === "option") {
      const known = settings.find(({ flag }) => token.rawName === `--${flag}`);
      if (known === undefined) {
        unknownAt = token.index;
        const nearest = nearestWord(token.name, settings.map(({ flag }) => flag));
        problems.push(
          `${token.rawName}: no such flag; ${nearest ? `did you mean --${nearest}?` : "see --help"}`,
        );
      } else if (!token.value) {
        problems.push(`--${known.flag}: found no value; allowed: ${known.allowed}`);
      } else {
        flags.set(known.flag, token.value);
      }
    }
  }
  return { flags, problems };
}

function within(bounds: Bounds, read: (text: string) => number | undefined) {
  const [min, max] = [read(bounds.min), read(bounds.max)];
  if (min === undefined || max === undefined) {
    throw new TypeError(`Cannot use the bounds ${bounds.min} and ${bounds.max}: not written as a value is`);
  }
  return (text: string): number | undefined => {
    const value = read(text);
    return value !== undefined && value >= min && value <= max ? value : undefined;
  };
}

function quantity(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const [, digits, unit] = /^(\d+)([A-Za-z]+)$/.exec(text) ?? [];
  if (digits === undefined || unit === undefined || !Object.hasOwn(units, unit)) return undefined;
  return Number(digits) * units[unit]!;
}

function wholeNumber(text: string): number | undefined {
  return /^\d+$/.test(text) ? Number(text) : undefined;
}

function isHost(text: string): boolean {
  const inUrl = text.includes(":") ? `http://[${text}]/` : `http://${text}/`;
  return /^[\w.:-]+$/.test(text) && URL.canParse(inUrl);
}

/** The word that takes the fewest single-letter edits, if they are few enough to be a slip. */
function nearestWord(word: string, words: readonly string[]): string | undefined {
  const ranked = words.map((candidate) => ({ candidate, edits: editDistance(word, candidate) }))
    .sort((a, b) => a.edits - b.edits);
  const best = ranked[0];
  return best !== undefined && best.edits <= Math.max(2, word.length / 3) ? best.candidate : undefined;
}

/** Levenshtein's distance, one row of the table at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (const [index, letter] of [...a].entries()) {
    const next = [index + 1];
    for (let column = 1; column <= b.length; column++) {
      const replaced = row[column - 1]! + (letter === b[column - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[column]! + 1, next[column - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
