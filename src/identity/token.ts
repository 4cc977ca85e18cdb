/**
 * Tokens that devices and readers present as `authorization: Bearer …`.
 *
 * @module
 */
import { createHash, randomBytes } from "node:crypto";

/** By which people and secret scanners recognise a token. */
const PREFIX = "tally_";

/** Cannot be guessed, also by a sender of a million attempts a second. */
const RANDOM_BYTES = 32;

const tokenForm = new RegExp(`^${PREFIX}[\\w-]{${Math.ceil(RANDOM_BYTES * 8 / 6)}}$`);

/** A new token: `tally_` and 43 characters of base64url, 256 random bits. */
export function makeToken(): string {
  return PREFIX + randomBytes(RANDOM_BYTES).toString("base64url");
}

/** Whether a text has the form of a token. What has not is refused without a request to the store. */
export function isToken(text: string): boolean {
  return tokenForm.test(text);
}

/**
 * SHA-256 of a token, 64 hexadecimal digits: how it is stored and found. A token is random enough that a fast hash
 * without salt cannot be reversed; and as the hash is what is compared, the time that takes reveals nothing of
 * the token.
 */
export function hashToken(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}

/** A new id for a token's record: 16 hexadecimal digits. */
export function makeTokenId(): string {
  return randomBytes(8).toString("hex");
}

const bearerForm = /^Bearer +([\w.~+/-]+=*) *$/i;

/** The credentials of an `authorization` header by RFC 6750; undefined if it has none of this kind. */
export function bearerToken(authorization: string): string | undefined {
  return bearerForm.exec(authorization)?.[1];
}
