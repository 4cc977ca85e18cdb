/**
 * Tokens of readers, in the store of a test.
 *
 * @module
 */
import { getLogger } from "@logtape/logtape";

import { Auditor } from "../../src/identity/auditor.ts";
import type { Scope } from "../../src/identity/identity.ts";
import { type IssuedToken, issueTokens } from "../../src/identity/issued_tokens.ts";
import type { Store } from "../../src/store/store.ts";

/** Writes the audit log of the test's store. */
export function testAuditor(store: Store): Auditor {
  return new Auditor({ store, now: Date.now, log: getLogger(["tally", "test"]) });
}

/** Adds a token of a reader. */
export async function addReaderToken(
  store: Store,
  scopes: readonly Scope[],
  name = `test ${scopes.join(" ")}`,
): Promise<IssuedToken> {
  const request = { kind: "reader", subjects: [name], scopes } as const;
  const [issued] = await issueTokens(store, testAuditor(store), "test", request);
  return issued!;
}

/** Adds a token of a device. */
export async function addDeviceToken(store: Store, device: string): Promise<IssuedToken> {
  const request = { kind: "device", subjects: [device], scopes: [] } as const;
  const [issued] = await issueTokens(store, testAuditor(store), "test", request);
  return issued!;
}

/** The header that presents a token. */
export function bearer(token: string): { authorization: string } {
  return { authorization: `Bearer ${token}` };
}
