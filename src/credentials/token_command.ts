/**
 * What the commands of `credentials.ts` share.
 *
 * @module
 */
import type { Auditor } from "../identity/auditor.ts";
import { revokeTokens } from "../identity/issued_tokens.ts";
import {
  type CredentialStore,
  MAX_TOKENS_PER_CALL,
  type TokenKind,
  type TokenRecord,
} from "../store/credentials.ts";

/** What a command works with. */
export interface CommandContext {
  /** Where tokens are. */
  readonly store: CredentialStore;
  /** Records what is done. */
  readonly auditor: Auditor;
  /** The arguments that are neither flags nor their values. */
  readonly words: readonly string[];
  /** The command's own flags that were given, without dashes. */
  readonly flags: ReadonlyMap<string, string>;
  /** Writes to standard output; text is never written twice. */
  readonly print: (text: string) => void;
}

/** A command: a task of `deno.json` has its name. */
export interface Command {
  /** What it does and how it is called; begins the output of `--help`. */
  readonly usage: string;
  /** Names of its own flags, without dashes; each has a value. */
  readonly flags: readonly string[];
  /** What is wrong with the arguments, before the store is opened; undefined: nothing. */
  check(words: readonly string[], flags: ReadonlyMap<string, string>): string | undefined;
  /** Does it; resolves to the exit code. */
  run(context: CommandContext): Promise<number>;
}

/** The actor of the audit log's entries. */
export const ACTOR = "command line";

/** All tokens of a kind, by id. */
export async function* pagesOf(
  store: CredentialStore,
  kind: TokenKind,
): AsyncGenerator<readonly TokenRecord[]> {
  for (let after = "";;) {
    const page = await store.tokens(kind, after, MAX_TOKENS_PER_CALL);
    if (page.length === 0) return;
    yield page;
    after = page.at(-1)!.id;
  }
}

/** Revokes the tokens of a kind whose ids or subjects are the words; resolves to the exit code. */
export async function revokeNamed(
  { store, auditor, words, print }: CommandContext,
  kind: TokenKind,
): Promise<number> {
  const found: TokenRecord[] = [], missing = new Set(words);
  for await (const page of pagesOf(store, kind)) {
    for (const record of page) {
      const named = words.filter((word) => word === record.id || word === record.subject);
      if (named.length > 0) found.push(record);
      for (const word of named) missing.delete(word);
    }
  }
  for (let at = 0; at < found.length; at += MAX_TOKENS_PER_CALL) {
    const ids = found.slice(at, at + MAX_TOKENS_PER_CALL).map(({ id }) => id);
    const revoked = await revokeTokens(store, auditor, ACTOR, ids);
    print(revoked.map(({ id, subject }) => `revoked ${id} of ${subject}`).join("\n"));
  }
  const what = kind === "device" ? "id or device" : "id or name";
  for (const word of missing) console.error(`Cannot revoke ${word}: found no token of this ${what}`);
  return missing.size === 0 ? 0 : 1;
}

/** One line of CSV (RFC 4180). */
export function csvLine(fields: readonly string[]): string {
  return fields.map((field) => /[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field).join(",");
}

/** As in `2026-11-28T17:48:34.000Z`. */
export function timeText(atMs: number): string {
  return new Date(atMs).toISOString();
}
