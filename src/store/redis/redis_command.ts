/**
 * Commands as they are sent to Redis: those that run a script have its text, or its hash.
 *
 * Redis copies and hashes a script that is sent as text with each call, some 0.1 ms for the 40 KB of `apply.lua` with all
 * that precedes it. So each connection sends the text once, and the hash from then on, until the server does not have
 * the script any more, which its reply shows.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import { createHash } from "node:crypto";

/** An argument of a command. */
export type Argument = string | number | Buffer;

/** A command's name and arguments. */
export type Command = readonly [name: string, ...args: Argument[]];

/** The command that runs a script, with its text: {@linkcode ScriptHashes} replaces it where the hash will do. */
export function evalCommand(script: string, keys: readonly string[], args: readonly Argument[]): Command {
  return ["eval", script, keys.length, ...keys, ...args];
}

/** The reply to `EVALSHA` of a server that does not have the script. */
const LOST = /^NOSCRIPT /;

/** The reply to a user that may run `EVAL` only: earlier versions of Tally needed no more. */
const REFUSED = /^NOPERM .*\bevalsha\b/i;

/** Hashes of scripts, by their text. There are few scripts. */
const hashes = new Map<string, string>();

/** The scripts that one connection has sent as text. */
export class ScriptHashes {
  readonly #sent = new Set<string>();
  #isRefused = false;

  /** The command as it is to be sent: with the hash, if it runs a script that was sent before. */
  shortened(command: Command): Command {
    const [name, script, ...rest] = command;
    if (name !== "eval" || this.#isRefused) return command;
    if (this.#sent.has(script as string)) return ["evalsha", hashOf(script as string), ...rest];
    this.#sent.add(script as string);
    return command;
  }

  /** Whether this reply refused a hash: the command is to be sent again, and {@linkcode shortened} gives it the text. */
  rejects(message: string): boolean {
    if (REFUSED.test(message)) this.#isRefused = true;
    else if (!LOST.test(message)) return false;
    this.#sent.clear();
    return true;
  }

  /** The connection leads to a server that may have no script, and whose user may have other permissions. */
  reset(): void {
    this.#sent.clear();
    this.#isRefused = false;
  }
}

function hashOf(script: string): string {
  let hash = hashes.get(script);
  if (hash === undefined) hashes.set(script, hash = createHash("sha1").update(script).digest("hex"));
  return hash;
}
