import { assertEquals, assertRejects } from "@std/assert";

import { hashToken, makeToken } from "../../src/identity/token.ts";
import { TokenLookup, type TokenStore } from "../../src/identity/token_lookup.ts";
import type { TokenRecord } from "../../src/store/credentials.ts";
import { StoreError } from "../../src/store/store_error.ts";

/** Tokens in memory, whose replies a test can hold back. */
class HeldStore implements TokenStore {
  readonly records = new Map<string, TokenRecord>();
  version = 1;
  reads = 0;
  fails = false;
  readonly used: ReadonlyMap<string, number>[] = [];
  /** Replies wait for it. */
  held = Promise.resolve();

  add(lastUsedMs = 0): { token: string; record: TokenRecord } {
    const token = makeToken();
    const hash = hashToken(token);
    const record: TokenRecord = {
      ...{ id: hash.slice(0, 16), kind: "reader", hash, subject: "grafana", scopes: ["read"] },
      ...{ createdMs: 1, createdBy: "test", lastUsedMs },
    };
    this.records.set(hash, record);
    this.version++;
    return { token, record };
  }

  revoke({ hash }: TokenRecord): void {
    this.records.delete(hash);
    this.version++;
  }

  async tokensByHash(hashes: readonly string[]) {
    this.reads++;
    this.#check();
    const found = hashes.flatMap((hash) => this.records.get(hash) ?? []);
    await this.held;
    return new Map(found.map((record) => [record.hash, record]));
  }

  async credentialsVersion() {
    this.#check();
    const { version } = this;
    await this.held;
    return String(version);
  }

  markTokensUsed(usedMs: ReadonlyMap<string, number>) {
    this.#check();
    this.used.push(usedMs);
    return Promise.resolve();
  }

  #check() {
    if (this.fails) throw new StoreError("the test's store is down");
  }
}

Deno.test("TokenLookup.find() reads a token once, and tokens that are requested together in one call", async () => {
  const store = new HeldStore();
  const lookup = new TokenLookup(store, () => 0);
  const [a, b, c] = [store.add(), store.add(), store.add()];
  const find = () => Promise.all([a, b, c].map(({ token }) => lookup.find(token)));
  assertEquals(await find(), [a.record, b.record, c.record]);
  assertEquals(store.reads, 2); // the first alone, then both others
  assertEquals(await find(), [a.record, b.record, c.record]);
  assertEquals(store.reads, 2);
});

Deno.test("TokenLookup.find() refuses other texts without a request to the store, and unknown tokens", async () => {
  const store = new HeldStore();
  const lookup = new TokenLookup(store, () => 0);
  assertEquals(await lookup.find("tally_short"), undefined);
  assertEquals(await lookup.find("a".repeat(100_000)), undefined);
  assertEquals(store.reads, 0);
  assertEquals(await lookup.find(makeToken()), undefined);
  assertEquals(store.reads, 1);
});

Deno.test("TokenLookup.poll() ends what a revoked token opened, and nothing of others", async () => {
  const store = new HeldStore();
  const lookup = new TokenLookup(store, () => 0);
  const [a, b] = [store.add(), store.add()];
  const ended: string[] = [];
  for (const [name, { token, record }] of [["a", a], ["b", b]] as const) {
    await lookup.find(token);
    lookup.onRevoked(record, () => ended.push(name));
  }
  const closed = lookup.onRevoked(a.record, () => ended.push("closed before"));
  closed();
  await lookup.poll();
  assertEquals(ended, []);
  store.revoke(a.record);
  await lookup.poll();
  assertEquals(ended, ["a"]);
  assertEquals([await lookup.find(a.token), await lookup.find(b.token)], [undefined, b.record]);
  assertEquals([lookup.cached(a.token), lookup.cached(b.token)], [undefined, b.record]);
  store.revoke(b.record);
  await lookup.poll();
  assertEquals(ended, ["a", "b"]);
});

Deno.test("TokenLookup.onRevoked() ends what was opened after a poll had noticed the revocation", async () => {
  const store = new HeldStore();
  const lookup = new TokenLookup(store, () => 0);
  const { token, record } = store.add();
  const found = await lookup.find(token);
  store.revoke(record);
  await lookup.poll();
  let isEnded = false;
  lookup.onRevoked(found!, () => isEnded = true);
  await lookup.poll();
  assertEquals(isEnded, true);
});

Deno.test("TokenLookup.find() does not keep what was read before a revocation, in any order of replies", async () => {
  const store = new HeldStore();
  const lookup = new TokenLookup(store, () => 0);
  const { token, record } = store.add();
  await lookup.poll();
  const release = Promise.withResolvers<void>();
  store.held = release.promise;
  const finding = lookup.find(token); // read, not replied to
  store.held = Promise.resolve();
  store.revoke(record);
  await lookup.poll();
  release.resolve();
  assertEquals(await finding, undefined);
  assertEquals(await lookup.find(token), undefined);
});

Deno.test("TokenLookup accepts what it has read during an outage of the store, and nothing else", async () => {
  const store = new HeldStore();
  const lookup = new TokenLookup(store, () => 0);
  const [a, b] = [store.add(), store.add()];
  await lookup.find(a.token);
  store.fails = true;
  assertEquals(await lookup.find(a.token), a.record);
  await assertRejects(() => lookup.find(b.token), StoreError);
  await assertRejects(() => lookup.poll(), StoreError);
  store.fails = false;
  assertEquals(await lookup.find(b.token), b.record);
  store.revoke(a.record);
  await lookup.poll();
  assertEquals(await lookup.find(a.token), undefined);
});

Deno.test("TokenLookup.poll() stores the last use of a token once a minute", async () => {
  const store = new HeldStore();
  let nowMs = 1_000_000;
  const lookup = new TokenLookup(store, () => nowMs);
  const { token, record } = store.add(nowMs - 59_000);
  for (const passMs of [0, 1_000, 30_000, 29_999, 1]) {
    nowMs += passMs;
    await lookup.find(token);
    await lookup.poll();
  }
  assertEquals(store.used.flatMap((used) => [...used]), [
    [record.hash, 1_001_000],
    [record.hash, 1_061_000],
  ]);
});
