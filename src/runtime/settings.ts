/**
 * Settings of a program as data: the kinds of values, and what each setting has besides its kind. The
 * parser (`settings_parser.ts`), the help and the tables (`settings_text.ts`) work on any table of them;
 * `config.ts` has Tally's.
 *
 * @module
 */
import { formatAddress } from "./address.ts";
import { parseDuration, parseSize, parseWholeNumber } from "./quantity.ts";

/** One setting: where its text comes from, what is allowed, and what it is for. */
export interface Setting<Value> {
  /** Flag without dashes: `flush-interval`. */
  readonly flag: string;
  /** Environment variable, such as `TALLY_FLUSH_INTERVAL`; undefined if only the flag sets it. */
  readonly env: string | undefined;
  /** The default as a user writes it; undefined: not set unless given. */
  readonly default: string | undefined;
  /** Completes "allowed: …". */
  readonly allowed: string;
  /** What it is for, one sentence or two. */
  readonly help: string;
  /** Heading in the help and in the tables; undefined: none. */
  readonly group: string | undefined;
  /** Role of the processes that read it, for the reader; undefined: the program has no roles. */
  readonly role: string | undefined;
  /** One of the few that most users set. */
  readonly common: boolean;
  /** Internal: parsed, but in no help and in no table. */
  readonly hidden: boolean;
  /** May hold a password: a wrong value is not shown. */
  readonly secret: boolean;
  /** The value of `text`, or undefined if it is not allowed. */
  parse(text: string): Value | undefined;
}

/** A program's settings by the name its code uses. */
export type SettingTable = Readonly<Record<string, Setting<unknown>>>;

/** The values of a table: one property per setting, typed by its kind. */
export type Values<Table extends SettingTable> = {
  readonly [Key in keyof Table]: Table[Key] extends Setting<infer Value> ? Value : never;
};

/** What every setting has besides its kind. */
export interface Description {
  /** The default as a user writes it. */
  readonly default: string;
  /** What it is for. */
  readonly help: string;
  /** See {@linkcode Setting.group}. */
  readonly group?: string;
  /** See {@linkcode Setting.role}. */
  readonly role?: string;
  /** The flag without dashes, where it does not follow from the name. */
  readonly flag?: string;
  /** See {@linkcode Setting.common}. */
  readonly common?: boolean;
  /** See {@linkcode Setting.hidden}. */
  readonly hidden?: boolean;
}

/** What a kind of setting has: see {@linkcode Setting}. */
export interface Kind<Value> {
  /** Completes "allowed: …". */
  readonly allowed: string;
  /** See {@linkcode Setting.secret}. */
  readonly secret?: boolean;
  /** The value of `text`, or undefined if it is not allowed. */
  readonly parse: (text: string) => Value | undefined;
}

/** Lowest and highest value allowed, both included, written as a value is. */
export interface Bounds {
  /** Lowest value allowed. */
  readonly min: string;
  /** Highest value allowed. */
  readonly max: string;
}

/** A length of time such as `500ms`, `60s`, `5m`, `24h`; the value is in milliseconds. */
export function duration(name: string, about: Description & Bounds): Setting<number> {
  return custom(name, about, {
    allowed: `a duration from ${about.min} to ${about.max}, as in 500ms, 60s, 5m, 24h`,
    parse: within(about, parseDuration),
  });
}

/** A size such as `64KiB`, `16MiB`; the value is in bytes. */
export function size(name: string, about: Description & Bounds): Setting<number> {
  return custom(name, about, {
    allowed: `a size from ${about.min} to ${about.max}, as in 512B, 64KiB, 16MiB, 1GiB`,
    parse: within(about, parseSize),
  });
}

/** A whole number. */
export function integer(name: string, about: Description & Bounds): Setting<number> {
  return custom(name, about, {
    allowed: `a whole number from ${about.min} to ${about.max}`,
    parse: within(about, parseWholeNumber),
  });
}

/** A whole number, or `auto` where the program chooses one. */
export function integerOrAuto(name: string, about: Description & Bounds): Setting<number | "auto"> {
  const { allowed, parse } = integer(name, about);
  return custom(name, about, {
    allowed: `${allowed}, auto`,
    parse: (text) => text === "auto" ? text : parse(text),
  });
}

/** A TCP port to listen on; 0 lets the system choose a free one. */
export function port(name: string, about: Description): Setting<number> {
  return custom(name, about, {
    allowed: "a port from 0 to 65535, where 0 takes a free one",
    parse: within({ min: "0", max: "65535" }, parseWholeNumber),
  });
}

/** A host name or an IP address, without a port. */
export function host(name: string, about: Description): Setting<string> {
  return custom(name, about, {
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
  return custom(name, about, {
    allowed: words.join(", "),
    parse: (text) => words.find((word) => word === text),
  });
}

/** A path in the file system. */
export function path(name: string, about: Description): Setting<string> {
  return custom(name, about, {
    allowed: "a path",
    parse: (text) => text.includes("\0") ? undefined : text,
  });
}

/**
 * A value with a form of its own. `TALLY_FLUSH_INTERVAL` names a variable and the flag `--flush-interval`;
 * `--role` only a flag.
 */
export function custom<Value>(name: string, about: Description, kind: Kind<Value>): Setting<Value> {
  const flagOnly = name.startsWith("--");
  const flag = flagOnly ? name.slice(2) : name.replace(/^TALLY_/, "").toLowerCase().replaceAll("_", "-");
  return {
    flag: about.flag ?? flag,
    env: flagOnly ? undefined : name,
    default: about.default,
    allowed: kind.allowed,
    help: about.help,
    group: about.group,
    role: about.role,
    common: about.common ?? false,
    hidden: about.hidden ?? false,
    secret: kind.secret ?? false,
    parse: kind.parse,
  };
}

/** The same setting without a default: its value is undefined unless given. */
export function optional<Value>(setting: Setting<Value>): Setting<Value | undefined> {
  return { ...setting, default: undefined };
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

function isHost(text: string): boolean {
  return /^[\w.:-]+$/.test(text) && URL.canParse(`http://${formatAddress(text, 80)}/`);
}
