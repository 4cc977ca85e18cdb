/**
 * Command-line arguments of `deno task bench`, `attack`, `fuzz` and `chaos`.
 *
 * @module
 */
import { parseArgs, type ParseArgsOptionsConfig } from "node:util";

/** Values of the flags, as `parseArgs` returns them; every command has --help. */
export type FlagValues<Flags extends ParseArgsOptionsConfig> = ReturnType<
  typeof parseArgs<{ options: Flags }>
>["values"];

/**
 * Parses `Deno.args`, and converts the values; `convert` throws an error that names a wrong one. Returns the exit code
 * when there is nothing to do: 0 after --help, 2 for wrong arguments, which are printed with `usage`.
 */
export function readArguments<Flags extends ParseArgsOptionsConfig, Arguments extends object>(
  usage: string,
  flags: Flags,
  convert: (values: FlagValues<Flags>) => Arguments,
): Arguments | number {
  if (Deno.args.includes("--help") || Deno.args.includes("-h")) {
    console.log(usage);
    return 0;
  }
  try {
    return convert(parseArgs({ args: Deno.args, options: flags }).values as FlagValues<Flags>);
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`);
    return 2;
  }
}

/** The integer of a flag; throws unless it is from `min` to `max`. */
export function integerOf(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw new Error(`--${name}: found "${text}"; expected an integer from ${min} to ${max}`);
}

/** The chosen form of the output: the name of the flag that is set, or "text"; throws when several are. */
export function outputOf<Name extends string>(
  values: Readonly<Partial<Record<Name, boolean>>>,
  names: readonly Name[],
): Name | "text" {
  const chosen = names.filter((name) => values[name]);
  if (chosen.length > 1) throw new Error(`found --${chosen.join(" and --")}; give one of them`);
  return chosen[0] ?? "text";
}

/** A flag's regular expression, in any case. */
export function patternOf(text: string): RegExp {
  return new RegExp(text, "i");
}
