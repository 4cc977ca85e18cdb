/**
 * Parses a table of settings from arguments and environment, which are passed in: nothing here touches the
 * process.
 *
 * @module
 */
import { parseArgs } from "node:util";

import type { Setting, SettingTable, Values } from "./settings.ts";

/** Where the texts of the settings come from. */
export interface SettingSources {
  /** The program's arguments. */
  readonly args: readonly string[];
  /** Reads an environment variable. */
  readonly env: (name: string) => string | undefined;
  /** Names that variables had before, by the name they have now: still read, and reported. */
  readonly formerNames?: Readonly<Record<string, string>>;
}

/** The parsed settings of a table. */
export interface ParsedSettings<Table extends SettingTable> {
  /** All values. */
  readonly values: Values<Table>;
  /** Variables that are set under a former name. */
  readonly renamed: readonly RenamedVariable[];
}

/** A variable that is set under a former name. */
export interface RenamedVariable {
  /** The former name. */
  readonly found: string;
  /** The name to use instead. */
  readonly use: string;
  /** Why its value has no effect; undefined if it has. */
  readonly ignored: string | undefined;
}

/** What a check of several settings works on: those that are allowed by themselves. */
export interface ParseResult<Table extends SettingTable> {
  /** The settings' values, without those that are wrong. */
  readonly values: Partial<Values<Table>>;
  /** The flag or variable of each setting that was given, `--flush-interval` or `TALLY_FLUSH_INTERVAL`. */
  readonly source: { readonly [Key in keyof Table]?: string };
}

/** Arguments or environment hold values that are not allowed; {@linkcode problems} has all of them. */
export class ConfigError extends Error {
  /** Identifies it where `instanceof` cannot. */
  override readonly name = "ConfigError";
  /** One sentence each: name, value found, what is allowed. */
  readonly problems: readonly string[];

  /** Takes at least one problem. */
  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.problems = problems;
  }
}

/**
 * Parses every setting: the flag (`--flag value` or `--flag=value`) takes precedence over the environment,
 * which takes precedence over the default. An empty variable counts as not set. `crossChecks` returns the
 * problems of settings that are allowed one by one and not together.
 *
 * @throws {ConfigError} with everything that is wrong, not only the first.
 */
export function parseSettings<Table extends SettingTable>(
  table: Table,
  sources: SettingSources,
  crossChecks: (result: ParseResult<Table>) => string[] = () => [],
): ParsedSettings<Table> {
  const { flags, problems } = readFlags(table, sources.args);
  const values: Record<string, unknown> = {};
  const source: Record<string, string> = {};
  const renamed: RenamedVariable[] = [];
  for (const [key, setting] of Object.entries(table)) {
    const given = readSetting(setting, flags.get(setting.flag), sources, renamed);
    const text = given?.text ?? setting.default;
    if (given !== undefined) source[key] = given.name;
    values[key] = text === undefined ? undefined : setting.parse(text);
    if (text === undefined || values[key] !== undefined) continue;
    const name = given?.name ?? setting.env ?? `--${setting.flag}`;
    const found = setting.secret ? "a value not shown here, as it may hold a password" : JSON.stringify(text);
    problems.push(`${name}: found ${found}; allowed: ${setting.allowed}${serviceHint(name, text)}`);
  }
  const result = { values, source } as ParseResult<Table>;
  problems.push(...crossChecks(result));
  if (problems.length > 0) throw new ConfigError(problems);
  // The loop above gave every key its own setting's value, as the type requires.
  return { values: values as Values<Table>, renamed };
}

/** The text of a setting that is given, and the name it was given under; adds a former name to `renamed`. */
function readSetting(
  { flag, env: use }: Setting<unknown>,
  flagText: string | undefined,
  { env, formerNames = {} }: SettingSources,
  renamed: RenamedVariable[],
): { readonly text: string; readonly name: string } | undefined {
  const found = use === undefined ? undefined : formerNames[use];
  const formerText = found === undefined ? undefined : env(found) || undefined;
  const text = use === undefined ? undefined : env(use) || undefined;
  if (use !== undefined && found !== undefined && formerText !== undefined) {
    const service = serviceOf(found, formerText);
    const ignored = service !== undefined
      ? `Kubernetes sets it for a service named "${service}"`
      : text !== undefined
      ? `${use} is set`
      : flagText !== undefined
      ? `--${flag} is set`
      : undefined;
    renamed.push({ found, use, ignored });
    if (ignored === undefined) return { text: formerText, name: `${found} (now ${use})` };
  }
  if (flagText !== undefined) return { text: flagText, name: `--${flag}` };
  return use === undefined || text === undefined ? undefined : { text, name: use };
}

/** Kubernetes gives each container the addresses of the namespace's services, in variables like `REDIS_PORT`. */
function serviceOf(name: string, text: string): string | undefined {
  if (!name.endsWith("_PORT") || !/^(tcp|udp|sctp):\/\//.test(text)) return undefined;
  return name.slice(0, -"_PORT".length).toLowerCase().replaceAll("_", "-");
}

function serviceHint(name: string, text: string): string {
  const service = serviceOf(name, text);
  return service === undefined ? "" : `; Kubernetes sets this variable for a service named "${service}": ` +
    `set ${name} yourself, or enableServiceLinks: false in the pod`;
}

/** The values of the flags in `args`, and what is wrong with the others. */
function readFlags(table: SettingTable, args: readonly string[]) {
  const settings = Object.values(table);
  const options = Object.fromEntries(settings.map(({ flag }) => [flag, { type: "string" as const }]));
  const { tokens } = parseArgs({ args: [...args], options, strict: false, tokens: true });
  const flags = new Map<string, string>();
  const problems: string[] = [];
  let unknownAt = NaN;
  for (const token of tokens) {
    // The argument after an unknown flag is most likely its value.
    if (token.kind === "positional" && token.index !== unknownAt + 1) {
      // It may be a URL with a password.
      const shown = token.value.replace(/\/\/.*@/, "//***@");
      problems.push(`${JSON.stringify(shown)}: unexpected argument; see --help`);
    } else if (token.kind === "option") {
      const known = settings.find(({ flag }) => token.rawName === `--${flag}`);
      if (known === undefined) {
        unknownAt = token.index;
        const words = settings.filter(({ hidden }) => !hidden).map(({ flag }) => flag);
        const nearest = nearestWord(token.name, words);
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
