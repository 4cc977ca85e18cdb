import { assert, assertEquals, assertNotEquals } from "@std/assert";

import { bearerToken, hashToken, isToken, makeToken, makeTokenId } from "../../src/identity/token.ts";

Deno.test("makeToken() makes another token each time, of the form that isToken() accepts", () => {
  const tokens = Array.from({ length: 1_000 }, makeToken);
  assertEquals(new Set(tokens).size, 1_000);
  assertEquals(tokens.filter((token) => !isToken(token) || token.length !== 49), []);
  assert(!isToken(tokens[0]!.slice(1)) && !isToken(`${tokens[0]}a`) && !isToken(""));
});

Deno.test("hashToken() is SHA-256 in hexadecimal digits", () => {
  assertEquals(hashToken("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
});

Deno.test("makeTokenId() makes another id each time", () => {
  assertNotEquals(makeTokenId(), makeTokenId());
});

for (
  const [header, token] of [
    ["Bearer tally_a-b", "tally_a-b"],
    ["bearer   abc.def.ghi= ", "abc.def.ghi="],
    ["Basic abc", undefined],
    ["Bearer", undefined],
    ["Bearer a b", undefined],
    ["Bearer ä", undefined],
    ["", undefined],
  ] as const
) {
  Deno.test(`bearerToken() finds ${token ?? "nothing"} in ${JSON.stringify(header)}`, () => {
    assertEquals(bearerToken(header), token);
  });
}
