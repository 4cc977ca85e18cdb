/**
 * The tasks for tokens, such as `deno task device:add`: they use the store of Tally's settings, and take effect in every
 * process of Tally within five seconds.
 *
 * Exit codes: 0 when everything was done, 1 when not, 2 for wrong arguments or settings.
 *
 * @module
 */
import { settings } from "../config/config.ts";
import { addDevices, listDevices, revokeDevices } from "./device_tokens.ts";
import { Auditor } from "../identity/auditor.ts";
import { openStore } from "../open_store.ts";
import { readConfig } from "../config/read_config.ts";
import { addReaders, listReaders, revokeReaders } from "./reader_tokens.ts";
import { messageOf } from "../runtime/error_text.ts";
import { startLogging } from "../runtime/log.ts";
import { settingsHelp } from "../runtime/settings_text.ts";
import type { Command } from "./token_command.ts";

const commands: Readonly<Record<string, Command>> = {
  "device:add": addDevices,
  "device:list": listDevices,
  "device:revoke": revokeDevices,
  "token:add": addReaders,
  "token:list": listReaders,
  "token:revoke": revokeReaders,
};

/** The settings that select the store. */
const storeSettings = Object.fromEntries(
  Object.entries(settings).filter(([, { group }]) => group === settings.redisUrl.group),
);

const PROGRAM = "src/credentials/credentials.ts";

if (import.meta.main) Deno.exit(await main(Deno.args));

async function main([name = "", ...args]: readonly string[]): Promise<number> {
  const command = commands[name];
  if (command === undefined) {
    console.error(`Cannot run "${name}": expected one of ${Object.keys(commands).join(", ")}`);
    return 2;
  }
  if (args.includes("--help") || args.includes("-h")) {
    console.log(`${command.usage}\n\n${settingsHelp(storeSettings)}`);
    return 0;
  }
  const { words, flags, rest } = separate(args, command.flags);
  const problem = command.check(words, flags);
  if (problem !== undefined) {
    console.error(`Cannot run ${name}: ${problem} (--help has more)`);
    return 2;
  }
  const read = readConfig(rest, (variable) => Deno.env.get(variable));
  if (typeof read === "number") return read;
  const log = startLogging({
    level: "warning",
    format: "text",
    write: (line) => void Deno.stderr.writeSync(new TextEncoder().encode(line)),
  });
  try {
    await using store = disposable(await openStore(read.config, [name, ...args], log, PROGRAM));
    const auditor = new Auditor({ store, now: Date.now, log });
    return await command.run({ store, auditor, words, flags, print: console.log });
  } catch (error) {
    console.error(messageOf(error));
    return 1;
  }
}

/** The arguments by kind; `rest` are Tally's settings. A flag may be written `--flag value` or `--flag=value`. */
function separate(args: readonly string[], own: readonly string[]) {
  const words: string[] = [], rest: string[] = [], flags = new Map<string, string>();
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (!arg.startsWith("--")) words.push(arg);
    else {
      const [flag = "", value] = arg.slice(2).split(/=(.*)/s);
      const given = value ?? args[++i] ?? "";
      if (own.includes(flag)) flags.set(flag, given);
      else rest.push(`--${flag}=${given}`);
    }
  }
  return { words, rest, flags };
}

function disposable<Closable extends { close(): Promise<void> }>(
  value: Closable,
): Closable & AsyncDisposable {
  return Object.assign(value, { [Symbol.asyncDispose]: () => value.close() });
}
