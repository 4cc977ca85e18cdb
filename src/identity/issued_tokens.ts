/**
 * Issues and revokes tokens: the records in the store, and who did it in the audit log. The api and the commands for
 * operators use the same.
 *
 * @module
 */
import type { CredentialStore, TokenKind, TokenRecord } from "../store/credentials.ts";
import type { Auditor } from "./auditor.ts";
import type { Scope } from "./identity.ts";
import { hashToken, makeToken, makeTokenId } from "./token.ts";

/** What is to be issued; {@linkcode TokenRecord} has the meaning of the fields. */
export interface TokenRequest {
  /** Who presents the tokens. */
  readonly kind: TokenKind;
  /** One token for each: an id of a device, a pattern of ids, or the name of a reader. */
  readonly subjects: readonly string[];
  /** What readers may do; empty for devices. */
  readonly scopes: readonly Scope[];
}

/** A token and its record. The token is shown once: only the record is stored. */
export interface IssuedToken {
  /** What is presented. */
  readonly token: string;
  /** What is stored. */
  readonly record: TokenRecord;
}

/** What these functions use of the store. */
export type TokenAdminStore = Pick<CredentialStore, "addTokens" | "revokeTokens">;

/**
 * Issues tokens, at most `MAX_TOKENS_PER_CALL`, all or none. `actor`: who issues them. Rejects with `StoreError`.
 */
export async function issueTokens(
  store: TokenAdminStore,
  auditor: Auditor,
  actor: string,
  { kind, subjects, scopes }: TokenRequest,
): Promise<IssuedToken[]> {
  const createdMs = auditor.now();
  const issued = subjects.map((subject): IssuedToken => {
    const token = makeToken();
    const id = makeTokenId();
    const hash = hashToken(token);
    return {
      token,
      record: { id, kind, hash, subject, scopes, createdMs, createdBy: actor, lastUsedMs: 0 },
    };
  });
  await store.addTokens(issued.map(({ record }) => record));
  await auditor.record(actor, "token.add", issued.map(({ record }) => describe(record)));
  return issued;
}

/** Revokes tokens by their ids, at most `MAX_TOKENS_PER_CALL`; resolves to those that existed. */
export async function revokeTokens(
  store: TokenAdminStore,
  auditor: Auditor,
  actor: string,
  ids: readonly string[],
): Promise<readonly TokenRecord[]> {
  const revoked = await store.revokeTokens(ids);
  await auditor.record(actor, "token.revoke", revoked.map(describe));
  return revoked;
}

function describe({ id, kind, subject, scopes }: TokenRecord): { target: string; detail: string } {
  return { target: id, detail: [kind, subject, scopes.join(" ")].filter((part) => part !== "").join(" ") };
}
