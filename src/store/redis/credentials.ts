/**
 * Tokens in Redis.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import type { CredentialStore, TokenRecord } from "../credentials.ts";
import { StoreError } from "../store_error.ts";
import type { RedisClient } from "./redis_client.ts";
import {
  addTokensScript,
  revokeTokensScript,
  tokensByHashScript,
  tokensScript,
  tokensUsedScript,
  tokensVersionScript,
} from "./scripts.ts";

type Found = [records: (Buffer | null)[], uses: (Buffer | null)[]];

/** Records as JSON, without the time of their last use, which changes often. */
export function redisCredentials(client: RedisClient): CredentialStore {
  const names = client.keys;
  return {
    async addTokens(tokens) {
      if (tokens.length === 0) return;
      const keys = [names.tokens, names.tokenIds, names.tokensVersion, names.nothing];
      const args = tokens.flatMap(({ lastUsedMs: _, ...token }) => [
        ...[token.kind, token.id, token.hash, JSON.stringify(token)],
      ]);
      const existing = await client.write("add tokens", addTokensScript, keys, args) as Buffer | null;
      if (existing !== null) {
        throw new StoreError(`could not add tokens: ${existing} or its hash exists already`);
      }
    },

    async tokensByHash(hashes) {
      if (hashes.length === 0) return new Map();
      const keys = [names.tokens, names.tokenUses];
      const found = await client.read("look up tokens", tokensByHashScript, keys, hashes) as Found;
      return new Map(recordsOf(found).map((record) => [record.hash, record]));
    },

    async tokens(kind, after, limit) {
      const from = after === "" ? `[${kind} ` : `(${kind} ${after} \xff`;
      const keys = [names.tokenIds, names.tokens, names.tokenUses];
      return recordsOf(
        await client.read("list tokens", tokensScript, keys, [from, `(${kind}!`, limit]) as Found,
      );
    },

    async revokeTokens(ids) {
      if (ids.length === 0) return [];
      const keys = [names.tokens, names.tokenIds, names.tokensVersion, names.nothing, names.tokenUses];
      return recordsOf(await client.write("revoke tokens", revokeTokensScript, keys, ids) as Found);
    },

    async markTokensUsed(usedMs) {
      const args = [...usedMs].flat();
      await client.write("mark tokens as used", tokensUsedScript, [names.tokens, names.tokenUses], args);
    },

    async credentialsVersion() {
      const keys = [names.tokensVersion];
      const version = await client.read("read the version of the tokens", tokensVersionScript, keys, []);
      return String(version ?? "");
    },
  };
}

function recordsOf([records, uses]: Found): TokenRecord[] {
  return records.flatMap((record, i) =>
    record === null ? [] : [{ ...JSON.parse(record.toString()), lastUsedMs: Number(uses[i] ?? 0) }]
  );
}
