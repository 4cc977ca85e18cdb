/**
 * Revocation lists (RFC 5280, 5), as a certificate authority signs them: which certificates it has revoked.
 *
 * `node:tls` of Deno 2.9 ignores its option `crl`.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { type KeyObject, verify } from "node:crypto";

import {
  BIT_STRING,
  contentsOf,
  type DerValue,
  GENERALIZED_TIME,
  INTEGER,
  objectIdOf,
  readValues,
  SEQUENCE,
  timeOf,
  UTC_TIME,
  valuesIn,
} from "./der.ts";
import { isEqual, readExtensions } from "./certificate.ts";

/** Digests of the signature algorithms, by object identifier as DER encodes it; null: the algorithm has its own. */
const digests: Readonly<Record<string, string | null>> = {
  "2a864886f70d01010b": "sha256", // RSA
  "2a864886f70d01010c": "sha384",
  "2a864886f70d01010d": "sha512",
  "2a8648ce3d040302": "sha256", // ECDSA
  "2a8648ce3d040303": "sha384",
  "2a8648ce3d040304": "sha512",
  "2b6570": null, // Ed25519
};

/** Who may sign lists. */
export interface ListIssuer {
  /** Its name as it is encoded. */
  readonly name: Uint8Array;
  /** Verifies its signatures. */
  readonly publicKey: KeyObject;
}

/** One list. */
export interface RevocationList {
  /** The issuer's name as it is encoded. */
  readonly issuer: Uint8Array;
  /** When the next list should be there, Unix milliseconds; Infinity: not stated. */
  readonly nextUpdateMs: number;
  /** Serial numbers of revoked certificates: contents of their INTEGER, hexadecimal digits. */
  readonly serials: ReadonlySet<string>;
}

/** The lists in `pem`, which must be signed by one of `authorities`; throws if there is none, or one is wrong. */
export function parseRevocationLists(pem: string, authorities: readonly ListIssuer[]): RevocationList[] {
  const blocks = Array.from(
    pem.matchAll(/-----BEGIN X509 CRL-----([^-]*)-----END X509 CRL-----/g),
    ([, base64]) => Buffer.from(base64!, "base64"),
  );
  if (blocks.length === 0) throw new Error('found no "BEGIN X509 CRL"');
  return blocks.map((der) => parseList(der, authorities));
}

function parseList(der: Uint8Array, authorities: readonly ListIssuer[]): RevocationList {
  const [tbs, algorithm, signature] = valuesIn(readValues(der)[0], SEQUENCE);
  // The first byte of a BIT STRING counts unused bits.
  const signed = contentsOf(signature, BIT_STRING).subarray(1);
  const algorithmId = objectIdOf(valuesIn(algorithm, SEQUENCE)[0]);
  const digest = digests[algorithmId];
  if (digest === undefined) {
    throw new Error(`found a signature algorithm that is not supported: ${algorithmId}`);
  }
  const list = readList(valuesIn(tbs, SEQUENCE));
  const isSigned = authorities.some(({ name, publicKey }) => {
    try {
      return isEqual(name, list.issuer) && verify(digest, tbs!.bytes, publicKey, signed);
    } catch {
      return false; // a key of another kind
    }
  });
  if (!isSigned) throw new Error("found a list that none of the certificate authorities has signed");
  return list;
}

function readList(fields: DerValue[]): RevocationList {
  if (fields[0]?.tag === INTEGER) fields.shift(); // version
  const [, issuer, , ...rest] = fields; // signature algorithm, issuer, this update
  const isTime = rest[0]?.tag === UTC_TIME || rest[0]?.tag === GENERALIZED_TIME;
  const nextUpdateMs = isTime ? timeOf(rest.shift()) : Infinity;
  const entries = rest[0]?.tag === SEQUENCE ? valuesIn(rest.shift(), SEQUENCE) : [];
  refuseCritical(rest.find(({ tag }) => tag === 0xa0)?.contents);
  const serials = entries.map((entry) => {
    const [serial, , extensions] = valuesIn(entry, SEQUENCE);
    refuseCritical(extensions?.bytes);
    return contentsOf(serial, INTEGER).toHex();
  });
  return { issuer: contentsOf(issuer, SEQUENCE), nextUpdateMs, serials: new Set(serials) };
}

/** A critical extension means a list of a part, a difference to another list, or one of several issuers. */
function refuseCritical(extensions: Uint8Array | undefined): void {
  const [sequence] = readValues(extensions ?? new Uint8Array(0));
  for (const [id, { critical }] of readExtensions(sequence)) {
    if (critical) throw new Error(`found a list that is not a complete one of one issuer: extension ${id}`);
  }
}
