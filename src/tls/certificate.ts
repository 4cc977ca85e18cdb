/**
 * Fields of certificates and extensions of revocation lists (RFC 5280, 4.2 and 5.2) that `node:crypto` does not read.
 * An extension that is critical and unknown must not be ignored: what has it is refused.
 *
 * @module
 */
import {
  BOOLEAN,
  contentsOf,
  type DerValue,
  INTEGER,
  objectIdOf,
  OCTET_STRING,
  readValues,
  SEQUENCE,
  valuesIn,
} from "./der.ts";

/** Object identifiers, as DER encodes them. */
const KEY_USAGE = "551d0f", SUBJECT_ALTERNATIVE_NAME = "551d11", BASIC_CONSTRAINTS = "551d13";
const NAME_CONSTRAINTS = "551d1e", EXTENDED_KEY_USAGE = "551d25";

/** `id-kp-clientAuth` and `anyExtendedKeyUsage`. */
const CLIENT_AUTHENTICATION = ["2b06010505070302", "551d2500"];

/** Bit of the key usage with which a key signs certificates: `keyCertSign`. */
const SIGNS_CERTIFICATES = 0x04;

const understood = [KEY_USAGE, SUBJECT_ALTERNATIVE_NAME, BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE];

/** What a certificate's extensions allow. */
export interface CertificateUse {
  /** It may issue certificates. */
  readonly issues: boolean;
  /** Certificates of further issuers that may stand between it and a client's; Infinity: any number. */
  readonly maxIssuersBelow: number;
  /** It may prove who a client is. */
  readonly authenticatesClients: boolean;
  /** Names the certificates below it may have are restricted. */
  readonly constrainsNames: boolean;
}

/** What a certificate contains, besides what `node:crypto` reads of it. */
export interface CertificateFields extends CertificateUse {
  /** The issuer's name, and the subject's, as they are encoded. */
  readonly issuer: Uint8Array;
  /** See {@linkcode issuer}. */
  readonly subject: Uint8Array;
  /** Serial number: contents of the INTEGER, hexadecimal digits. */
  readonly serial: string;
  /** Subject alternative names. */
  readonly alternativeNames: readonly DerValue[];
}

/** Reads a certificate of X.509 version 3; throws for others, and where a critical extension is unknown. */
export function readCertificate(certificate: Uint8Array): CertificateFields {
  const [tbs] = valuesIn(readValues(certificate)[0], SEQUENCE);
  const [version, serial, , issuer, , subject, , ...rest] = valuesIn(tbs, SEQUENCE);
  if (version?.tag !== 0xa0 || readValues(version.contents)[0]?.contents[0] !== 2) {
    throw new Error("found a certificate that is not of X.509 version 3");
  }
  const extensions = rest.find(({ tag }) => tag === 0xa3);
  const found = readExtensions(readValues(extensions?.contents ?? new Uint8Array(0))[0]);
  const unknown = [...found].find(([id, { critical }]) => critical && !understood.includes(id));
  if (unknown !== undefined && unknown[0] !== NAME_CONSTRAINTS) {
    throw new Error(`found a critical extension that is not understood, object identifier ${unknown[0]}`);
  }
  const names = found.get(SUBJECT_ALTERNATIVE_NAME);
  return {
    issuer: contentsOf(issuer, SEQUENCE),
    subject: contentsOf(subject, SEQUENCE),
    serial: contentsOf(serial, INTEGER).toHex(),
    alternativeNames: names === undefined ? [] : valuesIn(names.value, SEQUENCE),
    ...usesOf(found),
  };
}

function usesOf(found: ReadonlyMap<string, Extension>): CertificateUse {
  const constraints = found.get(BASIC_CONSTRAINTS), usage = found.get(KEY_USAGE);
  const purposes = found.get(EXTENDED_KEY_USAGE);
  const values = constraints === undefined ? [] : valuesIn(constraints.value, SEQUENCE);
  const isIssuer = values[0]?.tag === BOOLEAN && values[0].contents[0] === 0xff;
  // The first byte of a BIT STRING counts unused bits.
  const maySign = usage === undefined || ((usage.value.contents[1] ?? 0) & SIGNS_CERTIFICATES) !== 0;
  return {
    issues: isIssuer && maySign,
    maxIssuersBelow: values[1]?.tag === INTEGER ? Number(`0x${values[1].contents.toHex()}`) : Infinity,
    authenticatesClients: purposes === undefined ||
      valuesIn(purposes.value, SEQUENCE).some((id) => CLIENT_AUTHENTICATION.includes(objectIdOf(id))),
    constrainsNames: found.has(NAME_CONSTRAINTS),
  };
}

/** One extension. */
export interface Extension {
  /** A reader that does not understand it must refuse what contains it. */
  readonly critical: boolean;
  /** The value within its OCTET STRING. */
  readonly value: DerValue;
}

/** The extensions of the SEQUENCE, by object identifier; none where it is undefined. */
export function readExtensions(sequence: DerValue | undefined): Map<string, Extension> {
  const found = new Map<string, Extension>();
  for (const extension of sequence === undefined ? [] : valuesIn(sequence, SEQUENCE)) {
    const [id, ...rest] = valuesIn(extension, SEQUENCE);
    const critical = rest[0]?.tag === BOOLEAN && rest[0].contents[0] !== 0;
    const [value] = readValues(contentsOf(rest.at(-1), OCTET_STRING));
    if (value === undefined) throw new Error("found an extension without a value");
    found.set(objectIdOf(id), { critical, value });
  }
  return found;
}

/** Whether two encodings are the same. */
export function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
