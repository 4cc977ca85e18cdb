/**
 * Devices' JSON Web Tokens (RFC 7519), signed by an issuer that the operator trusts.
 *
 * @module
 */
import { createHash } from "node:crypto";

import { decodeProtectedHeader, errors, type JWTPayload, jwtVerify } from "jose";

import { RequestError } from "../protocol/request_error.ts";
import { AuthError } from "./auth_error.ts";
import { BoundedMap } from "./bounded_map.ts";
import { isDevicePattern } from "./device_pattern.ts";
import type { DeviceIdentity } from "./identity.ts";
import type { VerificationKey } from "./jwk_set.ts";
import type { JwkSource } from "./jwk_source.ts";

/** What a {@linkcode JwtAuthenticator} needs. */
export interface JwtAuthenticatorOptions {
  /** The issuer's keys. */
  readonly keys: JwkSource;
  /** The `iss` that a JWT must have; undefined: any. */
  readonly issuer: string | undefined;
  /** The `aud` that a JWT must have; undefined: any. */
  readonly audience: string | undefined;
  /** Server time, Unix milliseconds. */
  readonly now: () => number;
}

/** Longest JWT; headers of a call are 16 KiB at most. */
const MAX_CHARACTERS = 8192;

/** Entries of `devices`. */
const MAX_DEVICES = 1000;

/** JWTs cached after they were verified. */
const MAX_CACHED = 10_000;

/** How far the issuer's clock may be off, for `nbf` and `exp`. */
const CLOCK_TOLERANCE_MS = 5000;

/** Header fields that bring, or lead to, a key of the sender's choice. */
const FOREIGN_KEY_FIELDS = ["jku", "jwk", "x5u", "x5c"];

/** The bearer of a JWT. */
class JwtIdentity implements DeviceIdentity {
  readonly kind = "jwt";

  constructor(
    readonly subject: string,
    readonly devices: readonly string[],
    readonly expiresMs: number,
    readonly key: VerificationKey,
  ) {}
}

/** Verifies JWTs. Call {@linkcode refresh} once a second. */
export class JwtAuthenticator {
  readonly #options: JwtAuthenticatorOptions;
  /** By hash, so that a gateway's thousand calls cost one signature. Emptied when the keys change. */
  readonly #verified = new BoundedMap<JwtIdentity>(MAX_CACHED);
  readonly #verifying = new Map<string, Promise<DeviceIdentity>>();
  #keys: readonly VerificationKey[] | undefined;

  /** Has verified nothing yet. */
  constructor(options: JwtAuthenticatorOptions) {
    this.#options = options;
    this.#keys = options.keys.keys;
  }

  /**
   * The bearer of a JWT, or the function that verifies it. Throws, or rejects with, {@linkcode AuthError}; rejects with
   * another error without keys.
   */
  verify(jwt: string): DeviceIdentity | (() => Promise<DeviceIdentity>) {
    if (jwt.length > MAX_CHARACTERS) throw new AuthError("jwt_invalid");
    this.#forgetOldKeys();
    const hash = createHash("sha256").update(jwt).digest("base64url");
    const known = this.#verified.get(hash);
    if (known === undefined) return () => this.#verifyOnce(jwt, hash);
    if (known.expiresMs > this.#options.now()) return known;
    throw new AuthError("expired");
  }

  /** Reads the keys again if they have changed. */
  async refresh(): Promise<void> {
    await this.#options.keys.refresh();
    this.#forgetOldKeys();
  }

  /** Whether the key of an identity was removed from the keys. */
  revoked(identity: DeviceIdentity): boolean {
    return identity instanceof JwtIdentity &&
      !(this.#keys ?? []).some(({ fingerprint }) => fingerprint === identity.key.fingerprint);
  }

  #forgetOldKeys(): void {
    const { keys } = this.#options.keys;
    if (keys === this.#keys) return;
    this.#keys = keys;
    this.#verified.clear();
  }

  /** Those who present one JWT at once share the result. */
  #verifyOnce(jwt: string, hash: string): Promise<DeviceIdentity> {
    let verifying = this.#verifying.get(hash);
    if (verifying === undefined) {
      verifying = this.#verify(jwt, hash).finally(() => this.#verifying.delete(hash));
      this.#verifying.set(hash, verifying);
    }
    return verifying;
  }

  async #verify(jwt: string, hash: string): Promise<DeviceIdentity> {
    const key = await this.#keyFor(jwt);
    const { issuer, audience, now } = this.#options;
    let payload;
    try {
      ({ payload } = await jwtVerify(jwt, key.key, {
        algorithms: [key.algorithm],
        requiredClaims: ["exp"],
        clockTolerance: CLOCK_TOLERANCE_MS / 1000,
        currentDate: new Date(now()),
        ...issuer === undefined ? {} : { issuer },
        ...audience === undefined ? {} : { audience },
      }));
    } catch (error) {
      throw new AuthError(error instanceof errors.JWTExpired ? "expired" : "jwt_invalid");
    }
    const identity = identityOf(payload, key);
    this.#forgetOldKeys();
    if (this.revoked(identity)) throw new AuthError("jwt_invalid");
    this.#verified.set(hash, identity);
    return identity;
  }

  async #keyFor(jwt: string): Promise<VerificationKey> {
    let header;
    try {
      header = decodeProtectedHeader(jwt);
    } catch {
      throw new AuthError("jwt_invalid");
    }
    if (FOREIGN_KEY_FIELDS.some((field) => field in header)) throw new AuthError("jwt_invalid");
    const key = await this.#options.keys.find(header.kid, header.alg);
    if (key !== undefined) return key;
    if (this.#options.keys.keys !== undefined) throw new AuthError("jwt_invalid");
    throw new RequestError("UNAVAILABLE", "the keys that verify JWTs could not be read yet: connect again");
  }
}

/** Devices by the claim `devices`, or else by `sub`, which is the owner of sessions if there is one. */
function identityOf({ sub, exp, devices = sub }: JWTPayload, key: VerificationKey): JwtIdentity {
  const patterns: readonly unknown[] = Array.isArray(devices) ? devices : [devices];
  const areValid = patterns.length > 0 && patterns.length <= MAX_DEVICES &&
    patterns.every((pattern) => typeof pattern === "string" && isDevicePattern(pattern));
  const subject = sub ?? patterns.join(",");
  if (!areValid || typeof subject !== "string") throw new AuthError("jwt_invalid");
  return new JwtIdentity(subject, patterns as string[], exp! * 1000 + CLOCK_TOLERANCE_MS, key);
}
