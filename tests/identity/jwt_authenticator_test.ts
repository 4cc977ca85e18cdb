/**
 * JWTs as an issuer signs them, and as an attacker would.
 */
import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { getLogger } from "@logtape/logtape";
import {
  exportJWK,
  generateKeyPair,
  type JWK,
  type JWTHeaderParameters,
  type JWTPayload,
  SignJWT,
} from "jose";

import { AuthError } from "../../src/identity/auth_error.ts";
import type { DeviceIdentity } from "../../src/identity/identity.ts";
import { JwkSource } from "../../src/identity/jwk_source.ts";
import { JwtAuthenticator } from "../../src/identity/jwt_authenticator.ts";
import { seededRandom } from "../support/random.ts";

const now = 1_700_000_000_000, log = getLogger(["tally", "test"]);
const secret = new Uint8Array(32).fill(7);
const pairs = {
  EdDSA: await generateKeyPair("EdDSA", { extractable: true }),
  ES256: await generateKeyPair("ES256", { extractable: true }),
  RS256: await generateKeyPair("RS256", { extractable: true }),
};
const publicKeys: JWK[] = [
  { kty: "oct", k: base64url(secret), kid: "HS256" },
  ...await Promise.all(
    Object.entries(pairs).map(async ([kid, pair]) => ({
      ...await exportJWK(pair.publicKey),
      kid,
    })),
  ),
];
const claims = { sub: "sensor-1", exp: now / 1000 + 60, iss: "issuer", aud: "tally" };

function base64url(bytes: string | Uint8Array): string {
  return Buffer.from(bytes).toString("base64url");
}

/** Signed by the key of the algorithm. */
function sign(
  algorithm: string,
  payload: JWTPayload = claims,
  header: Partial<JWTHeaderParameters> = { kid: algorithm },
): Promise<string> {
  const key = algorithm === "HS256" ? secret : pairs[algorithm as keyof typeof pairs].privateKey;
  return new SignJWT(payload).setProtectedHeader({ alg: algorithm, ...header }).sign(key);
}

interface TestKeys extends AsyncDisposable {
  readonly file: string;
  readonly clock: { nowMs: number };
  readonly authenticator: JwtAuthenticator;
}

/** An authenticator that reads keys from a file. */
async function withKeys(
  keys: readonly JWK[] = publicKeys,
  claims: { issuer?: string; audience?: string } = {},
): Promise<TestKeys> {
  const file = await Deno.makeTempFile({ suffix: ".json" });
  await Deno.writeTextFile(file, JSON.stringify({ keys }));
  const clock = { nowMs: now };
  const source = await JwkSource.open({ location: file, now: () => performance.now(), log });
  const { issuer, audience } = claims;
  const authenticator = new JwtAuthenticator({ keys: source, issuer, audience, now: () => clock.nowMs });
  return { file, clock, authenticator, [Symbol.asyncDispose]: () => Deno.remove(file) };
}

/** The bearer of a JWT. */
async function verify(authenticator: JwtAuthenticator, jwt: string): Promise<DeviceIdentity> {
  const found = authenticator.verify(jwt);
  return typeof found === "function" ? await found() : found;
}

/** Why a JWT is refused. */
async function failure(authenticator: JwtAuthenticator, jwt: string): Promise<string> {
  return (await assertRejects(() => verify(authenticator, jwt), AuthError)).failure;
}

for (const algorithm of ["HS256", "EdDSA", "ES256", "RS256"]) {
  Deno.test(`JwtAuthenticator.verify() accepts ${algorithm}, the second time without a signature`, async () => {
    await using keys = await withKeys();
    const jwt = await sign(algorithm);
    const identity = await verify(keys.authenticator, jwt);
    const { kind, subject, devices, expiresMs } = identity;
    assertEquals([kind, subject, devices, expiresMs], ["jwt", "sensor-1", ["sensor-1"], now + 65_000]);
    assert(keys.authenticator.verify(jwt) === identity, "from memory");
    // Another signature: the last character may hold unused bits only.
    const [head, body, signature] = jwt.split(".") as [string, string, string];
    const changed = signature[0] === "A" ? "B" : "A";
    assertEquals(
      await failure(keys.authenticator, `${head}.${body}.${changed}${signature.slice(1)}`),
      "jwt_invalid",
    );
  });
}

for (
  const [what, payload, subject, devices] of [
    ["sub", { sub: "factory-7/*" }, "factory-7/*", ["factory-7/*"]],
    ["devices, a text", { sub: "gateway", devices: "a*" }, "gateway", ["a*"]],
    ["devices, a list", { sub: "gateway", devices: ["a", "b*"] }, "gateway", ["a", "b*"]],
    ["devices, without sub", { devices: ["a", "b"] }, "a,b", ["a", "b"]],
  ] as const
) {
  Deno.test(`JwtAuthenticator.verify() reads the devices of ${what}`, async () => {
    await using keys = await withKeys();
    const jwt = await sign("HS256", { ...payload, exp: claims.exp } as JWTPayload);
    const identity = await verify(keys.authenticator, jwt);
    assertEquals([identity.subject, identity.devices], [subject, [...devices]]);
  });
}

const rsaAsSecret = (() => {
  // The oldest attack: the public key, which anyone has, as the secret of HS256.
  const { n, e } = publicKeys.find(({ kid }) => kid === "RS256")!;
  return [JSON.stringify({ kty: "RSA", n, e }), n!];
})();

const refused: Record<string, () => Promise<string> | string> = {
  "alg none": () => `${base64url('{"alg":"none"}')}.${base64url(JSON.stringify(claims))}.`,
  "alg None with a kid": () =>
    `${base64url('{"alg":"None","kid":"RS256"}')}.${base64url(JSON.stringify(claims))}.`,
  "a public key as secret": () => hmac({ alg: "HS256", kid: "RS256" }, rsaAsSecret[0]!),
  "a modulus as secret": () => hmac({ alg: "HS256", kid: "RS256" }, rsaAsSecret[1]!),
  "a secret of its own": () => hmac({ alg: "HS256", kid: "HS256" }, "x".repeat(32)),
  "no exp": () => sign("RS256", { sub: "sensor-1" }),
  "exp that is text": () => sign("RS256", { ...claims, exp: "9999999999" as unknown as number }),
  "no device": () => sign("RS256", { exp: claims.exp }),
  "a device that is none": () => sign("RS256", { ...claims, sub: "a\nb" }),
  "a list without devices": () => sign("RS256", { ...claims, devices: [] }),
  "a list with a number": () => sign("RS256", { ...claims, devices: ["a", 1] }),
  "a list that is too long": () =>
    sign("RS256", { ...claims, devices: Array.from({ length: 1001 }, () => "a") }),
  "nbf in the future": () => sign("RS256", { ...claims, nbf: now / 1000 + 60 }),
  "an unknown kid": () => sign("RS256", claims, { kid: "other" }),
  "the kid of another algorithm": () => sign("RS256", claims, { kid: "ES256" }),
  "jku": () => sign("RS256", claims, { kid: "RS256", jku: "https://attacker.example/keys" }),
  "x5u": () => sign("RS256", claims, { kid: "RS256", x5u: "https://attacker.example/keys" }),
  "jwk": () => sign("RS256", claims, { kid: "RS256", jwk: {} as JWK }),
  "crit": () =>
    new SignJWT(claims).setProtectedHeader({ alg: "RS256", kid: "RS256", crit: ["x"], x: 1 })
      .sign(pairs.RS256.privateKey, { crit: { x: true } }),
  "text": () => "abc",
  "empty parts": () => "..",
  "a header that is no object": () => `${base64url("null")}.${base64url("{}")}.`,
  "more than 8 KiB": () => sign("RS256", { ...claims, x: "x".repeat(8192) }),
};

function hmac(header: object, key: string): string {
  const signed = `${base64url(JSON.stringify(header))}.${base64url(JSON.stringify(claims))}`;
  return `${signed}.${createHmac("sha256", key).update(signed).digest("base64url")}`;
}

for (const [what, jwt] of Object.entries(refused)) {
  Deno.test(`JwtAuthenticator.verify() refuses ${what}`, async () => {
    await using keys = await withKeys();
    assertEquals(await failure(keys.authenticator, await jwt()), "jwt_invalid");
  });
}

Deno.test("JwtAuthenticator.verify() refuses another iss or aud than the settings have", async () => {
  await using keys = await withKeys(publicKeys, { issuer: "issuer", audience: "tally" });
  await verify(keys.authenticator, await sign("ES256"));
  for (
    const payload of [{ ...claims, iss: "other" }, { ...claims, aud: "other" }, { sub: "a", exp: claims.exp }]
  ) {
    assertEquals(await failure(keys.authenticator, await sign("ES256", payload)), "jwt_invalid");
  }
});

Deno.test("JwtAuthenticator.verify() names an expired JWT as such, also one that it has verified", async () => {
  await using keys = await withKeys();
  const jwt = await sign("EdDSA");
  await verify(keys.authenticator, jwt);
  keys.clock.nowMs = now + 65_000;
  assertEquals(await failure(keys.authenticator, jwt), "expired");
  assertEquals(await failure(keys.authenticator, await sign("ES256")), "expired");
});

Deno.test("JwtAuthenticator.verify() accepts a JWT without kid for the only key of its algorithm", async () => {
  const { publicKey } = await generateKeyPair("EdDSA", { extractable: true });
  const second = { ...await exportJWK(publicKey), kid: "second" };
  await using one = await withKeys();
  await using two = await withKeys([...publicKeys, second]);
  const jwt = await sign("EdDSA", claims, {});
  await verify(one.authenticator, jwt);
  assertEquals(await failure(two.authenticator, jwt), "jwt_invalid");
});

Deno.test("JwtAuthenticator: a file of keys is read again when it changes; wrong ones change nothing", async () => {
  await using keys = await withKeys();
  const { authenticator, file } = keys;
  const [hmac, eddsa] = [await sign("HS256"), await sign("EdDSA")];
  const identity = await verify(authenticator, hmac), other = await verify(authenticator, eddsa);
  await Deno.writeTextFile(file, "{}");
  await authenticator.refresh();
  assertEquals(await verify(authenticator, hmac), identity);
  await Deno.remove(file);
  await authenticator.refresh();
  assertEquals(authenticator.revoked(identity), false);

  await Deno.writeTextFile(file, JSON.stringify({ keys: publicKeys.filter(({ kid }) => kid !== "HS256") }));
  await authenticator.refresh();
  assertEquals([identity, other].map((one) => authenticator.revoked(one)), [true, false]);
  assertEquals(await failure(authenticator, hmac), "jwt_invalid");
  await verify(authenticator, eddsa);

  // Another key of the same name.
  const renamed = publicKeys.filter(({ kid }) => kid === "HS256").map((key) => ({ ...key, kid: "EdDSA" }));
  await Deno.writeTextFile(file, JSON.stringify({ keys: renamed }));
  await authenticator.refresh();
  assertEquals(authenticator.revoked(other), true);
});

for (
  const [what, keys, message] of [
    ["no keys", [], "found no key"],
    ["keys for encryption alone", [{ ...publicKeys[3]!, use: "enc" }], "found no key"],
    ["keys of another algorithm", [{ ...publicKeys[3]!, alg: "RS512" }], "found no key"],
    ["a short secret", [{ kty: "oct", k: base64url("short") }], "key 0 has 5 bytes"],
    ["one kid twice", [publicKeys[0]!, { ...publicKeys[0]! }], "key 1 has the kid of another one"],
    ["a key without its parts", [{ kty: "RSA", kid: "a" }], "key 0 is malformed"],
  ] as readonly [string, JWK[], string][]
) {
  Deno.test(`JwkSource.open() refuses a file with ${what}`, async () => {
    const error = await assertRejects(() => withKeys(keys), Error);
    assertStringIncludes(error.message, message);
  });
}

Deno.test("JwkSource fetches from a URL again for an unknown kid, every 30 seconds at most", async () => {
  let requests = 0, served: readonly JWK[] | undefined, nowMs = 0;
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, () => {
    requests++;
    return served === undefined ? new Response("", { status: 503 }) : Response.json({ keys: served });
  });
  try {
    const location = `http://127.0.0.1:${server.addr.port}/keys`;
    const source = await JwkSource.open({ location, now: () => nowMs, log });
    const authenticator = new JwtAuthenticator({
      ...{ keys: source, issuer: undefined, audience: undefined, now: () => now },
    });
    const jwt = await sign("RS256");
    const unavailable = await assertRejects(() => verify(authenticator, jwt), Error);
    assertStringIncludes(unavailable.message, "could not be read yet");
    served = publicKeys.slice(0, 1);
    await assertRejects(() => verify(authenticator, jwt));
    assertEquals(requests, 1, "in the cooldown");
    nowMs += 30_000;
    await authenticator.refresh();
    assertEquals([requests, source.keys?.length], [2, 1]);
    served = publicKeys;
    nowMs += 30_000;
    const found = await Promise.all(Array.from({ length: 5 }, () => verify(authenticator, jwt)));
    assertEquals([requests, found[0]!.subject], [3, "sensor-1"]);
    for (let i = 0; i < 5; i++) {
      assertEquals(await failure(authenticator, await sign("RS256", claims, { kid: `${i}` })), "jwt_invalid");
    }
    assertEquals(requests, 3);
  } finally {
    await server.shutdown();
  }
});

Deno.test("JwtAuthenticator.verify() refuses 2,000 mutations of valid JWTs, and reports no other error", async () => {
  await using keys = await withKeys();
  const random = seededRandom(14);
  const valid = await Promise.all(["HS256", "EdDSA", "ES256", "RS256"].map((algorithm) => sign(algorithm)));
  const alphabet = "ABCabc019-_.={}";
  for (let i = 0; i < 2000; i++) {
    const jwt = [...random.pick(valid)];
    // Not in its last characters, which may hold unused bits.
    const at = random.int(0, jwt.length - 5);
    for (let edits = random.int(1, 3); edits > 0; edits--) {
      jwt.splice(at, random.int(0, 2), ...random.chance(0.8) ? [random.pick([...alphabet])] : []);
    }
    const text = jwt.join("");
    if (valid.includes(text)) continue;
    assertEquals(await failure(keys.authenticator, text), "jwt_invalid", text);
  }
});
