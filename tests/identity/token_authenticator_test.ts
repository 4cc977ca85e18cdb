import { assert, assertEquals, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";

import { AuthError } from "../../src/identity/auth_error.ts";
import type { DeviceIdentity } from "../../src/identity/identity.ts";
import { TokenAuthenticator } from "../../src/identity/token_authenticator.ts";
import { TokenLookup } from "../../src/identity/token_lookup.ts";
import { addTokens } from "../support/device_auth.ts";
import { temporaryStore } from "../support/harness.ts";

async function verify(authenticator: TokenAuthenticator, token: string): Promise<DeviceIdentity> {
  const found = authenticator.verify(token);
  return typeof found === "function" ? await found() : found;
}

Deno.test("TokenAuthenticator.revoked() finds revoked tokens among those in use, however many there are", async () => {
  await using store = await temporaryStore();
  const authenticator = new TokenAuthenticator({ lookup: new TokenLookup(store, Date.now), now: Date.now });
  const subjects = Array.from({ length: 3000 }, (_, i) => `sensor-${i}`);
  const issued = [];
  for (let at = 0; at < subjects.length; at += 1000) {
    issued.push(...await addTokens(store, subjects.slice(at, at + 1000)));
  }
  const identities = new Set<DeviceIdentity>();
  for (const { token } of issued) identities.add(await verify(authenticator, token));
  await authenticator.refresh();
  assertEquals(authenticator.revoked(identities), []);
  const gone = [issued[7]!, issued[1500]!, issued[2999]!];
  await store.revokeTokens(gone.map(({ record }) => record.id));
  await authenticator.refresh();
  const expected = gone.map(({ record }) => record.subject);
  assertEquals(authenticator.revoked(identities).map(({ subject }) => subject), expected);
  assertEquals(authenticator.revoked(identities).length, 3, "as long as they are in use");
  await assertRejects(() => verify(authenticator, gone[0]!.token), AuthError);
  // One that is opened again gets the identity that it had.
  const again = await verify(authenticator, issued[8]!.token);
  assert(identities.has(again));
});

Deno.test("TokenAuthenticator.revoked() finds a token that was revoked between its lookup and its first use", async () => {
  await using store = await temporaryStore();
  const [issued] = await addTokens(store, ["sensor-1"]);
  const authenticator = new TokenAuthenticator({ lookup: new TokenLookup(store, Date.now), now: Date.now });
  await authenticator.refresh();
  const identity = await verify(authenticator, issued!.token);
  await store.revokeTokens([issued!.record.id]);
  await authenticator.refresh(); // It is not known to be in use yet.
  const used = new Set([identity]);
  authenticator.revoked(used);
  await authenticator.refresh();
  assertEquals(authenticator.revoked(used), [identity]);
});

Deno.test("TokenAuthenticator stores the last use of tokens that are in use, once a minute", async () => {
  await using store = await temporaryStore();
  const [issued] = await addTokens(store, ["sensor-1"]);
  let nowMs = 1_700_000_000_000;
  const authenticator = new TokenAuthenticator({
    lookup: new TokenLookup(store, () => nowMs),
    now: () => nowMs,
  });
  const lastUsedMs = async () => {
    await authenticator.refresh();
    return (await store.tokens("device", "", 1))[0]!.lastUsedMs;
  };
  const identity = await verify(authenticator, issued!.token);
  const start = nowMs;
  assertEquals(await lastUsedMs(), start);
  for (
    const [laterMs, expectedMs] of [[59_999, 0], [60_000, 60_000], [100_000, 60_000], [
      120_000,
      120_000,
    ]] as const
  ) {
    nowMs = start + laterMs;
    assertEquals(authenticator.revoked(new Set([identity])), []);
    assertEquals(await lastUsedMs(), start + expectedMs);
  }
  nowMs = start + 300_000;
  assertStrictEquals(authenticator.verify(issued!.token), identity);
  assertEquals(await lastUsedMs(), nowMs);
});

Deno.test("TokenAuthenticator.verify() needs no lookup for a token in memory, nor for one that was unknown just now", async () => {
  await using store = await temporaryStore();
  const [issued] = await addTokens(store, ["sensor-1"]);
  let nowMs = 0;
  const authenticator = new TokenAuthenticator({
    lookup: new TokenLookup(store, Date.now),
    now: () => nowMs,
  });
  const identity = await verify(authenticator, issued!.token);
  assertStrictEquals(authenticator.verify(issued!.token), identity);
  assertThrows(() => authenticator.verify("tally_short"), AuthError);
  const wrong = `tally_${"A".repeat(43)}`;
  await assertRejects(() => verify(authenticator, wrong), AuthError);
  assertThrows(() => authenticator.verify(wrong), AuthError);
  nowMs = 2000;
  assertEquals(typeof authenticator.verify(wrong), "function");
});
