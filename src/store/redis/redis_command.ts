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

/** A server that lost its scripts replies so to `EVALSHA`, and has not run it. */
const LOST = /^NOSCRIPT /;

/** A user that may not run `EVALSHA`, which Tally did not need before, gets the one or the other. */
const REFUSED = /^NOPERM .*\bevalsha\b/i;

/** By their text: there are some fifty. */
const hashes = new Map<string, string>();

/** What the server of one connection has. */
export class ScriptHashes {
  readonly #sent = new Set<string>();
  #isRefused = false;

  /** The command as it is to be sent: the same, unless it runs a script that this connection has sent before. */
  shortened(command: Command): Command {
    const [name, script, ...rest] = command;
    if (name !== "eval" || this.#isRefused) return command;
    if (this.#sent.has(script as string)) return ["evalsha", hashOf(script as string), ...rest];
    this.#sent.add(script as string);
    return command;
  }

  /** Whether this reply shows that a script is to be sent again as text, as the next calls of {@linkcode shortened} do. */
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
