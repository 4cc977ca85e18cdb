/**
 * The part of the stores' contract about tokens.
 *
 * @module
 */
import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";

import type { TokenRecord } from "../../src/store/credentials.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { now } from "../support/batches.ts";
import type { TestStores } from "./parts.ts";

function token(id: string, more: Partial<TokenRecord> = {}): TokenRecord {
  return {
    id,
    kind: "device",
    hash: `hash of ${id}`.replaceAll(" ", "-"),
    subject: "greenhouse-*",
    scopes: [],
    createdMs: now,
    createdBy: "command line",
    lastUsedMs: 0,
    ...more,
  };
}

/** Registers the tests of tokens. */
export function testCredentials(test: TestStores): void {
  test("tokensByHash() finds what addTokens() stored, and nothing else", async (store, other) => {
    const one = token("one"), two = token("two", { kind: "reader", subject: "grafana", scopes: ["read"] });
    assertEquals(await store.tokensByHash([one.hash]), new Map());
    await store.addTokens([]);
    await store.addTokens([one, two]);
    assertEquals(
      await other.tokensByHash([two.hash, "missing", one.hash]),
      new Map([[two.hash, two], [one.hash, one]]),
    );
    assertEquals(await other.tokensByHash([]), new Map());
  });

  test("addTokens() adds none if the id or the hash of one exists, also of another kind", async (store) => {
    await store.addTokens([token("one")]);
    for (
      const existing of [
        token("one", { hash: "other" }),
        token("one", { hash: "other", kind: "reader" }),
        token("other", { hash: token("one").hash }),
      ]
    ) {
      const version = await store.credentialsVersion();
      await assertRejects(() => store.addTokens([token("new"), existing]), StoreError);
      assertEquals(await store.tokensByHash([token("new").hash]), new Map());
      assertEquals(await store.credentialsVersion(), version);
    }
  });

  test("tokens() pages through those of a kind by id", async (store, other) => {
    const ids = ["a", "a!", "a-1", "a-10", "a-2", "aa", "b~", "z"];
    await store.addTokens([...ids].reverse().map((id) => token(id)));
    await store.addTokens(ids.map((id) => token(`r-${id}`, { kind: "reader", scopes: ["read", "admin"] })));
    const found: string[] = [];
    for (let after = "";;) {
      const page = await other.tokens("device", after, 3);
      found.push(...page.map(({ id }) => id));
      if (page.length < 3) break;
      after = page.at(-1)!.id;
    }
    assertEquals(found, ids);
    const [first] = await other.tokens("reader", "", 1);
    assertEquals(first, token("r-a", { kind: "reader", scopes: ["read", "admin"] }));
    assertEquals(await store.tokens("device", "z", 5), []);
  });

  test("revokeTokens() deletes those that exist and resolves to them", async (store, other) => {
    await store.addTokens(["a", "a-1", "b"].map((id) => token(id)));
    assertEquals(await other.revokeTokens(["a", "missing"]), [token("a")]);
    assertEquals(await other.revokeTokens(["a"]), []);
    assertEquals((await store.tokens("device", "", 9)).map(({ id }) => id), ["a-1", "b"]);
    assertEquals(await store.tokensByHash([token("a").hash]), new Map());
    await store.addTokens([token("a")]);
    assertEquals((await store.tokens("device", "", 9)).length, 3);
  });

  test(
    "markTokensUsed() shows in what is read, and forgets tokens that do not exist",
    async (store, other) => {
      await store.addTokens([token("a"), token("b")]);
      await store.markTokensUsed(new Map([[token("a").hash, now + 1], ["missing", now]]));
      await store.markTokensUsed(new Map());
      assertEquals((await other.tokens("device", "", 9)).map(({ lastUsedMs }) => lastUsedMs), [now + 1, 0]);
      const found = await other.tokensByHash([token("a").hash]);
      assertEquals(found.get(token("a").hash)?.lastUsedMs, now + 1);
      const [revoked] = await store.revokeTokens(["a"]);
      assertEquals(revoked?.lastUsedMs, now + 1);
      await store.addTokens([token("a")]);
      assertEquals((await store.tokens("device", "", 1))[0]?.lastUsedMs, 0);
    },
  );

  test("credentialsVersion() differs after each change, and only then", async (store, other) => {
    const versions = [await store.credentialsVersion()];
    const changes = [
      () => store.addTokens([token("a")]),
      () => other.addTokens([token("b")]),
      () => store.revokeTokens(["a"]),
    ];
    for (const change of changes) {
      await change();
      versions.push(await other.credentialsVersion());
    }
    assertEquals(new Set(versions).size, 4);
    await store.revokeTokens(["a"]);
    await store.markTokensUsed(new Map([[token("b").hash, now]]));
    assertEquals(await store.credentialsVersion(), versions.at(-1));
    assertNotEquals(versions[0], versions[1]);
  });

  test("addTokens() takes a thousand at once", async (store, other) => {
    const many = Array.from({ length: 1000 }, (_, i) => token(`device-${i}`));
    await store.addTokens(many);
    assertEquals((await other.tokensByHash(many.map(({ hash }) => hash))).size, 1000);
    assertEquals((await other.tokens("device", "", 2000)).length, 1000);
    assertEquals((await other.revokeTokens(many.map(({ id }) => id))).length, 1000);
    assert((await store.tokens("device", "", 1)).length === 0);
  });
}
