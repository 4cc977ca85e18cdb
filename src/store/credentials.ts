/**
 * The tokens that devices and readers present, by their hashes: a token itself is never stored.
 *
 * @module
 */

/** Who presents a token. */
export type TokenKind = "device" | "reader";

/** What is stored of a token. Times are Unix milliseconds. */
export interface TokenRecord {
  /** Unique, printable ASCII without spaces, 1 to 64 characters; names the token where it is listed and revoked. */
  readonly id: string;
  /** Who presents it. */
  readonly kind: TokenKind;
  /** SHA-256 of the token, 64 hexadecimal digits. */
  readonly hash: string;
  /** Of a device: its id, or a pattern of ids. Of a reader: the name that an operator gave it. */
  readonly subject: string;
  /** What a reader may do; empty for a device. */
  readonly scopes: readonly string[];
  /** When it was added. */
  readonly createdMs: number;
  /** Who added it. */
  readonly createdBy: string;
  /** When it was used last, to the minute; 0: never. */
  readonly lastUsedMs: number;
}

/** Adds, finds and revokes tokens. */
export interface CredentialStore {
  /** Stores these, at most {@linkcode MAX_TOKENS_PER_CALL}, all or none; rejects when an id or a hash exists. */
  addTokens(tokens: readonly TokenRecord[]): Promise<void>;

  /** The tokens of these hashes, at most {@linkcode MAX_TOKENS_PER_CALL}; unknown ones are left out. */
  tokensByHash(hashes: readonly string[]): Promise<ReadonlyMap<string, TokenRecord>>;

  /** Up to `limit` tokens of the kind with ids after `after` ("": from the first), by id. */
  tokens(kind: TokenKind, after: string, limit: number): Promise<readonly TokenRecord[]>;

  /** Deletes the tokens of these ids, at most {@linkcode MAX_TOKENS_PER_CALL}; resolves to those that existed. */
  revokeTokens(ids: readonly string[]): Promise<readonly TokenRecord[]>;

  /** Stores when tokens were used, by hash; unknown hashes are ignored. */
  markTokensUsed(usedMs: ReadonlyMap<string, number>): Promise<void>;

  /**
   * Another text after every change by {@linkcode addTokens} and {@linkcode revokeTokens}, and when the store was
   * emptied or reverted: what was read of tokens under another version may be out of date.
   */
  credentialsVersion(): Promise<string>;
}

/** Tokens per call: some milliseconds of the store's time. */
export const MAX_TOKENS_PER_CALL = 1000;
