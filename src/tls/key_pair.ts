/**
 * A certificate with its key, checked before it is used.
 *
 * @module
 */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";

/** A certificate chain and its private key. */
export interface KeyPair {
  /** PEM: the server's certificate, then those of its issuers. */
  readonly cert: string;
  /** PEM. */
  readonly key: string;
  /** End of the certificate's validity, Unix milliseconds. */
  readonly expiresMs: number;
  /** Subject and alternative names, for the log. */
  readonly names: string;
}

/** Kinds of keys that Deno's TLS can use. */
const KEY_TYPES: readonly (string | undefined)[] = ["rsa", "ec", "ed25519"];

/** Checks the texts of both files; throws if they cannot be used now. The message completes "found". */
export function parseKeyPair(cert: string, key: string, nowMs: number): KeyPair {
  const certificate = parseCertificate(cert);
  const privateKey = parseKey(key);
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new Error("a key that is not that of the certificate");
  }
  const { validFrom, validTo, validFromDate, validToDate, subject, subjectAltName } = certificate;
  if (nowMs < validFromDate.getTime()) throw new Error(`a certificate that is not valid before ${validFrom}`);
  if (nowMs >= validToDate.getTime()) throw new Error(`a certificate that expired on ${validTo}`);
  const names = [subject, subjectAltName].filter(Boolean).join("; ");
  return { cert, key, expiresMs: validToDate.getTime(), names };
}

function parseCertificate(text: string): X509Certificate {
  try {
    return new X509Certificate(text);
  } catch (cause) {
    throw new Error("a certificate file that is not PEM", { cause });
  }
}

function parseKey(text: string): KeyObject {
  if (/ENCRYPTED/.test(text)) throw new Error("a key that is encrypted with a passphrase");
  let key: KeyObject;
  try {
    key = createPrivateKey(text);
  } catch (cause) {
    throw new Error("a key file that is not a private key in PEM", { cause });
  }
  if (!KEY_TYPES.includes(key.asymmetricKeyType)) {
    throw new Error(`a key of type ${key.asymmetricKeyType}; RSA, EC and Ed25519 can be used`);
  }
  return key;
}
