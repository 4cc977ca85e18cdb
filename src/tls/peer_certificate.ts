/**
 * The names of a client's certificate. They are read from its encoding: as text, a name that contains a separator could
 * pass for two.
 *
 * @module
 */
import type { X509Certificate } from "node:crypto";

import type { PeerCertificate } from "../identity/identity.ts";
import { readCertificate } from "./certificate.ts";
import { type DerValue, objectIdOf, readValues, SEQUENCE, valuesIn } from "./der.ts";

/** `id-at-commonName` as DER encodes it, and the tag of a SET. */
const COMMON_NAME = "550403", SET = 0x31;

/** Tags of alternative names: `dNSName` and `uniformResourceIdentifier`. */
const DNS_NAME = 0x82, URI = 0x86;

/** A name of 16-bit characters, as old programs write it. */
const BMP_STRING = 0x1e;

/** What identifies the client. */
export function peerCertificate(certificate: X509Certificate): PeerCertificate {
  const { subject, alternativeNames } = readCertificate(certificate.raw);
  const namesOf = (tag: number) => alternativeNames.filter((name) => name.tag === tag).map(textOf);
  return {
    commonName: commonNameOf(subject),
    dnsNames: namesOf(DNS_NAME),
    uris: namesOf(URI),
    serialNumber: certificate.serialNumber,
    fingerprint: certificate.fingerprint256.replaceAll(":", "").toLowerCase(),
    expiresMs: certificate.validToDate.getTime(),
  };
}

/** Empty where there is none, and where there are several: which of them counts is not defined. */
function commonNameOf(subject: Uint8Array): string {
  const attributes = readValues(subject).flatMap((set) => valuesIn(set, SET));
  const names = attributes
    .map((attribute) => valuesIn(attribute, SEQUENCE))
    .filter(([id]) => objectIdOf(id) === COMMON_NAME);
  return names.length === 1 && names[0]![1] !== undefined ? textOf(names[0]![1]) : "";
}

function textOf({ tag, contents }: DerValue): string {
  return new TextDecoder(tag === BMP_STRING ? "utf-16be" : "utf-8").decode(contents);
}
