/**
 * `token:add`, `token:list` and `token:revoke`: the tokens that readers of the api present.
 *
 * @module
 */
import { type Scope, SCOPES } from "../identity/identity.ts";
import { issueTokens } from "../identity/issued_tokens.ts";
import { isReaderName, READER_NAME_RULE } from "../identity/reader_name.ts";
import { MAX_TOKENS_PER_CALL } from "../store/credentials.ts";
import { ACTOR, type Command, csvLine, pagesOf, revokeNamed, timeText } from "./token_command.ts";

/** Adds a token for each reader. */
export const addReaders: Command = {
  usage:
    `Adds a token for each NAME, that of its user, and prints them as CSV: id, name, scopes, token. A token
is shown here only; the store has its hash.

Usage: deno task token:add --scope SCOPE NAME...

  --scope SCOPE
      read: everything but tokens and the audit log; metrics: GET /metrics only; admin: everything.
      Several with commas between them.`,
  flags: ["scope"],
  check(words, flags) {
    const wrong = words.find((word) => !isReaderName(word));
    if (words.length === 0) return "found no name";
    if (wrong !== undefined) return `found the name ${JSON.stringify(wrong)}; use ${READER_NAME_RULE}`;
    if (parseScopes(flags.get("scope")) !== undefined) return undefined;
    const found = flags.has("scope") ? `--scope ${JSON.stringify(flags.get("scope"))}` : "no --scope";
    return `found ${found}; use one or more of ${SCOPES.join(", ")} with commas between them`;
  },

  async run({ store, auditor, words, flags, print }) {
    const scopes = parseScopes(flags.get("scope"))!;
    const subjects = [...new Set(words)];
    print("id,name,scopes,token");
    for (let at = 0; at < subjects.length; at += MAX_TOKENS_PER_CALL) {
      const some = subjects.slice(at, at + MAX_TOKENS_PER_CALL);
      const issued = await issueTokens(store, auditor, ACTOR, { kind: "reader", subjects: some, scopes });
      for (const { record: { id, subject }, token } of issued) {
        print(csvLine([id, subject, scopes.join(" "), token]));
      }
    }
    return 0;
  },
};

/** Lists the tokens of readers. */
export const listReaders: Command = {
  usage: `Lists the tokens of readers as CSV: id, name, scopes, created, created by, last used.

Usage: deno task token:list`,
  flags: [],
  check: (words) => words.length === 0 ? undefined : `found an unexpected argument, ${words[0]}`,

  async run({ store, print }) {
    print("id,name,scopes,created,created_by,last_used");
    for await (const page of pagesOf(store, "reader")) {
      for (const { id, subject, scopes, createdMs, createdBy, lastUsedMs } of page) {
        const lastUsed = lastUsedMs === 0 ? "" : timeText(lastUsedMs);
        print(csvLine([id, subject, scopes.join(" "), timeText(createdMs), createdBy, lastUsed]));
      }
    }
    return 0;
  },
};

/** Revokes tokens of readers. */
export const revokeReaders: Command = {
  usage: `Revokes tokens of readers, and prints which. They are refused within five seconds by every api, and
the streams that were opened with them end.

Usage: deno task token:revoke ID...

  ID is that of a token, or a name: then all its tokens are revoked.`,
  flags: [],
  check: (words) => words.length > 0 ? undefined : "found no id and no name of a token",

  run: (context) => revokeNamed(context, "reader"),
};

function parseScopes(text = ""): readonly Scope[] | undefined {
  const scopes = text.split(",").map((word) => SCOPES.find((scope) => scope === word.trim()));
  return scopes.every((scope) => scope !== undefined) ? [...new Set(scopes)] : undefined;
}
