/**
 * Credentials of devices for tests: real tokens in a store, and JWTs of an issuer of the test's own.
 *
 * @module
 */
import { getLogger } from "@logtape/logtape";
import { SignJWT } from "jose";

import { openDeviceAuthenticator } from "../../src/device_auth.ts";
import { Auditor } from "../../src/identity/auditor.ts";
import type { DeviceAuthenticator } from "../../src/identity/device_authenticator.ts";
import type { DeviceAuthKind, Scope } from "../../src/identity/identity.ts";
import { type IssuedToken, issueTokens } from "../../src/identity/issued_tokens.ts";
import type { AuditStore } from "../../src/store/audit.ts";
import type { CredentialStore, TokenKind } from "../../src/store/credentials.ts";

const log = getLogger(["tally", "test"]);
const secret = crypto.getRandomValues(new Uint8Array(32));

/** Adds a token for each subject. */
export async function addTokens(
  store: CredentialStore & AuditStore,
  subjects: readonly string[],
  kind: TokenKind = "device",
  scopes: readonly Scope[] = [],
): Promise<IssuedToken[]> {
  const auditor = new Auditor({ store, now: Date.now, log });
  return await issueTokens(store, auditor, "test", { kind, subjects, scopes });
}

/** A JWT for a device, of the issuer that {@linkcode deviceAuthenticator} trusts. */
export function signJwt(sub: string, expiresMs = Date.now() + 60_000): Promise<string> {
  return new SignJWT({ sub, exp: expiresMs / 1000 }).setProtectedHeader({ alg: "HS256", kid: "test" })
    .sign(secret);
}

/** What verifies devices by the tokens in `store`, by {@linkcode signJwt}, or by certificates. */
export async function deviceAuthenticator(
  store: CredentialStore,
  ...kinds: DeviceAuthKind[]
): Promise<DeviceAuthenticator> {
  const deviceJwks = await Deno.makeTempFile({ suffix: ".json" });
  try {
    const k = secret.toBase64({ alphabet: "base64url", omitPadding: true });
    await Deno.writeTextFile(deviceJwks, JSON.stringify({ keys: [{ kty: "oct", kid: "test", k }] }));
    const config = {
      ...{ deviceAuth: new Set(kinds), deviceJwks, deviceCertField: "cn" as const },
      ...{ jwtIssuer: undefined, jwtAudience: undefined },
    };
    return (await openDeviceAuthenticator({ config, store, now: Date.now, log }))!;
  } finally {
    // What was read remains in use.
    await Deno.remove(deviceJwks);
  }
}

/** The metadata entry. */
export function bearer(token: string): { authorization: string } {
  return { authorization: `Bearer ${token}` };
}
