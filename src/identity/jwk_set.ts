/**
 * Keys that verify JWTs, from a JSON Web Key Set (RFC 7517).
 *
 * @module
 */
import { createHash } from "node:crypto";

import { importJWK, type JWK } from "jose";

/** The algorithms that are accepted. */
export const ALGORITHMS = ["HS256", "EdDSA", "ES256", "RS256"] as const;
/** One of {@linkcode ALGORITHMS}. */
export type JwtAlgorithm = typeof ALGORITHMS[number];

/** A key, which verifies by one algorithm alone: a public key is never used as the secret of HS256. */
export interface VerificationKey {
  /** `kid`, if it has one. */
  readonly id: string | undefined;
  /** The only algorithm it is for. */
  readonly algorithm: JwtAlgorithm;
  /** Another one for each key, whatever its name is. */
  readonly fingerprint: string;
  /** As jose uses it. */
  readonly key: Awaited<ReturnType<typeof importJWK>>;
}

const MAX_KEYS = 100;

/** Least strength: RFC 7518, 3.2 and 3.3. */
const MIN_SECRET_BYTES = 32, MIN_RSA_BITS = 2048;

/** The keys of a set that can verify; throws, for people, if there is none or one is not well-formed. */
export async function parseJwkSet(text: string): Promise<readonly VerificationKey[]> {
  let set: { keys?: unknown } | null;
  try {
    set = JSON.parse(text);
  } catch {
    throw new Error("found no JSON; expected a JSON Web Key Set");
  }
  const jwks = set?.keys;
  if (!Array.isArray(jwks) || jwks.length > MAX_KEYS) {
    throw new Error(`found no "keys", or more than ${MAX_KEYS}; expected a JSON Web Key Set`);
  }
  const keys: VerificationKey[] = [];
  for (const [index, jwk] of jwks.entries()) {
    const algorithm = algorithmOf(jwk);
    if (algorithm === undefined) continue;
    const id = typeof jwk.kid === "string" ? jwk.kid : undefined;
    if (keys.some((other) => other.id === id && other.algorithm === algorithm)) {
      throw new Error(`key ${index} has the kid of another one; expected unique kids`);
    }
    keys.push({ id, algorithm, ...await readKey(jwk, algorithm, index) });
  }
  if (keys.length === 0) throw new Error(`found no key for ${ALGORITHMS.join(", ")}; add one`);
  return keys;
}

/**
 * The key that a JWT's header names; a JWT without `kid` is verified by the only key for its algorithm. Undefined: none,
 * or several.
 */
export function findKey(
  keys: readonly VerificationKey[],
  id: unknown,
  algorithm: unknown,
): VerificationKey | undefined {
  const found = keys.filter((key) => key.algorithm === algorithm && (id === undefined || key.id === id));
  return found.length === 1 ? found[0] : undefined;
}

/** The algorithm that a key is for; undefined: it is not to verify signatures, or by others only. */
function algorithmOf(jwk: JWK | null): JwtAlgorithm | undefined {
  if (typeof jwk !== "object" || jwk === null || (jwk.use !== undefined && jwk.use !== "sig")) {
    return undefined;
  }
  const { kty, crv, key_ops: operations } = jwk;
  if (Array.isArray(operations) && !operations.includes("verify")) return undefined;
  const algorithm = kty === "oct"
    ? "HS256"
    : kty === "RSA"
    ? "RS256"
    : kty === "EC" && crv === "P-256"
    ? "ES256"
    : kty === "OKP" && crv === "Ed25519"
    ? "EdDSA"
    : undefined;
  return jwk.alg === undefined || jwk.alg === algorithm ? algorithm : undefined;
}

async function readKey(
  { kty, crv, x, y, n, e, k }: JWK,
  algorithm: JwtAlgorithm,
  index: number,
): Promise<Pick<VerificationKey, "key" | "fingerprint">> {
  // Not its private part, if it has one.
  const members = Object.entries({ kty, crv, x, y, n, e, k }).filter(([, value]) => value !== undefined);
  const fingerprint = createHash("sha256").update(JSON.stringify([algorithm, members])).digest("base64url");
  let key;
  try {
    key = await importJWK(Object.fromEntries(members) as unknown as JWK, algorithm);
  } catch {
    throw new Error(`key ${index} is malformed; expected one of type ${kty}`);
  }
  if (key instanceof Uint8Array && key.length < MIN_SECRET_BYTES) {
    throw new Error(`key ${index} has ${key.length} bytes; use ${MIN_SECRET_BYTES} or more`);
  }
  // Of an RSA key alone.
  const bits = (key as { algorithm?: { modulusLength?: number } }).algorithm?.modulusLength ?? Infinity;
  if (bits < MIN_RSA_BITS) throw new Error(`key ${index} has ${bits} bits; use ${MIN_RSA_BITS} or more`);
  return { key, fingerprint };
}
