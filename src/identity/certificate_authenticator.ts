/**
 * Devices' certificates. That they are genuine is verified by TLS; here follows which devices they are for.
 *
 * @module
 */
import { AuthError } from "./auth_error.ts";
import { isDevicePattern } from "./device_pattern.ts";
import type { DeviceIdentity, PeerCertificate } from "./identity.ts";

/** The fields of a certificate that may name devices, by the values of `TALLY_DEVICE_CERT_FIELD`. */
export const CERTIFICATE_FIELDS = ["cn", "san-dns", "san-uri"] as const;
/** One of {@linkcode CERTIFICATE_FIELDS}: the subject's common name, or alternative names of that type. */
export type CertificateField = typeof CERTIFICATE_FIELDS[number];

/** Verifies certificates. */
export class CertificateAuthenticator {
  /** One identity for all calls of a connection. */
  readonly #identities = new WeakMap<PeerCertificate, DeviceIdentity>();

  /** `field` names the devices. `now`: server time, Unix milliseconds. */
  constructor(readonly field: CertificateField, readonly now: () => number) {}

  /** The owner of a certificate; throws {@linkcode AuthError}. */
  verify(certificate: PeerCertificate): DeviceIdentity {
    let identity = this.#identities.get(certificate);
    if (identity === undefined) {
      const devices = namesIn(certificate, this.field).filter(isDevicePattern);
      if (devices.length === 0) throw new AuthError("wrong_certificate");
      const { expiresMs } = certificate;
      identity = { kind: "mtls", subject: devices.join(","), devices, expiresMs };
      this.#identities.set(certificate, identity);
    }
    if (identity.expiresMs <= this.now()) throw new AuthError("expired");
    return identity;
  }
}

function namesIn(
  { commonName, dnsNames, uris }: PeerCertificate,
  field: CertificateField,
): readonly string[] {
  switch (field) {
    case "cn":
      return [commonName];
    case "san-dns":
      return dnsNames;
    case "san-uri":
      return uris;
  }
}
