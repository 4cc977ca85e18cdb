/**
 * `device:add`, `device:list` and `device:revoke`: the tokens that devices present.
 *
 * @module
 */
import { DEVICE_PATTERN_RULE, isDevicePattern } from "../identity/device_pattern.ts";
import { issueTokens } from "../identity/issued_tokens.ts";
import { messageOf } from "../runtime/error_text.ts";
import { MAX_TOKENS_PER_CALL } from "../store/credentials.ts";
import { ACTOR, type Command, csvLine, pagesOf, revokeNamed, timeText } from "./token_command.ts";

/** Adds a token for each device. */
export const addDevices: Command = {
  usage: `Adds a token for each device id or pattern, and prints them as CSV: id, device, token. A token
is shown here only; the store has its hash. Quote patterns: 'factory-7/*' covers every id that
begins with factory-7/. A device may have several tokens: add the new one before the old one
is revoked.

Usage: deno task device:add ID... [--file FILE]

  --file FILE
      Ids or patterns, one a line; empty lines and those that begin with # are skipped.`,
  flags: ["file"],
  check: (words, flags) => words.length > 0 || flags.has("file") ? undefined : "found no device id",

  async run({ store, auditor, words, flags, print }) {
    const file = flags.get("file");
    const devices = [...new Set([...words, ...file === undefined ? [] : await readIds(file)])];
    const wrong = devices.find((device) => !isDevicePattern(device));
    if (wrong !== undefined) {
      console.error(`Cannot add a token for ${JSON.stringify(wrong)}: use ${DEVICE_PATTERN_RULE}`);
      return 1;
    }
    print("id,device,token");
    for (let at = 0; at < devices.length; at += MAX_TOKENS_PER_CALL) {
      const subjects = devices.slice(at, at + MAX_TOKENS_PER_CALL);
      const issued = await issueTokens(store, auditor, ACTOR, { kind: "device", subjects, scopes: [] });
      print(issued.map(({ record, token }) => csvLine([record.id, record.subject, token])).join("\n"));
    }
    return 0;
  },
};

/** Lists the tokens of devices. */
export const listDevices: Command = {
  usage: `Lists the tokens of devices as CSV: id, device, created, created by, last used.

Usage: deno task device:list`,
  flags: [],
  check: (words) => words.length === 0 ? undefined : `found an unexpected argument, ${words[0]}`,

  async run({ store, print }) {
    print("id,device,created,created_by,last_used");
    for await (const page of pagesOf(store, "device")) {
      print(
        page.map(({ id, subject, createdMs, createdBy, lastUsedMs }) =>
          csvLine([id, subject, timeText(createdMs), createdBy, lastUsedMs === 0 ? "" : timeText(lastUsedMs)])
        ).join("\n"),
      );
    }
    return 0;
  },
};

/** Revokes tokens of devices. */
export const revokeDevices: Command = {
  usage: `Revokes tokens of devices, and prints which. Open streams that use one end within five seconds,
once what they sent is settled.

Usage: deno task device:revoke ID...

  ID is that of a token, or a device or pattern: then all its tokens are revoked.`,
  flags: [],
  check: (words) => words.length > 0 ? undefined : "found no id of a token or device",

  run: (context) => revokeNamed(context, "device"),
};

async function readIds(file: string): Promise<string[]> {
  try {
    const text = await Deno.readTextFile(file);
    return text.split(/\r?\n/).filter((line) => line !== "" && !line.startsWith("#"));
  } catch (cause) {
    throw new Error(`Cannot read the ids in ${file}: ${messageOf(cause)}`, { cause });
  }
}
