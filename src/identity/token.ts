/**
 * Tokens: 32 random bytes as text. The store has their hashes alone; a hash without salt suffices, because what is
 * hashed cannot be guessed.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";

import type { TokenRecord } from "../store/credentials.ts";

/** Beginning of every token: people and secret scanners recognise them by it. */
export const TOKEN_PREFIX = "tally_";

/** Random bytes of a token, and of its id, which is no secret. */
const TOKEN_BYTES = 32, ID_BYTES = 8;

/** A new token, which is to be shown once, and what is to be stored of it. */
export function newToken(
  about: Omit<TokenRecord, "id" | "hash" | "lastUsedMs">,
): { readonly token: string; readonly record: TokenRecord } {
  const token = TOKEN_PREFIX + randomBytes(TOKEN_BYTES).toString("base64url");
  const record = {
    id: randomBytes(ID_BYTES).toString("hex"),
    hash: hashToken(token),
    lastUsedMs: 0,
    ...about,
  };
  return { token, record };
}

/** Whether `text` has the form of a token. */
export function isToken(text: string): boolean {
  return /^tally_[A-Za-z0-9_-]{43}$/.test(text);
}

/** SHA-256 of a token, 64 hexadecimal digits: what the store finds it by. */
export function hashToken(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}

function randomBytes(length: number): Buffer {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(length)));
}
