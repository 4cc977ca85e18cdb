/**
 * Whether a client's certificate is to be trusted.
 *
 * `node:tls` of Deno 2.9 alone does not suffice: `authorized` is true on every resumed session, also one that began
 * with a certificate of a foreign authority, and after a certificate has expired or was revoked. (A session is resumed
 * with a ticket, which a client gets before it can be refused.) So the chain is verified here on every connection; the
 * result of `node:tls`, which checks more on a full handshake, is required besides.
 *
 * @module
 */
import { X509Certificate } from "node:crypto";

import type { PeerCertificate } from "../identity/identity.ts";
import { messageOf } from "../runtime/error_text.ts";
import { type CertificateFields, isEqual, readCertificate } from "./certificate.ts";
import { peerCertificate } from "./peer_certificate.ts";
import { parseRevocationLists, type RevocationList } from "./revocation_list.ts";

/** Certificates between a client's and an authority's, at most. */
const MAX_INTERMEDIATES = 4;

/** The authorities of clients, and what they have revoked. */
export class ClientTrust {
  /** PEM of the authorities, for `node:tls`. */
  readonly caPem: string;
  readonly #authorities: readonly X509Certificate[];
  readonly #lists: readonly RevocationList[];

  /** Throws where a text is not valid; the message completes "found". `crlPem`: empty: nothing is revoked. */
  constructor(caPem: string, crlPem: string) {
    this.caPem = caPem;
    this.#authorities = parseAuthorities(caPem);
    const issuers = this.#authorities.map(({ raw, publicKey }) => ({
      name: readCertificate(raw).subject,
      publicKey,
    }));
    this.#lists = crlPem === "" ? [] : parseRevocationLists(crlPem, issuers);
  }

  /** When the first of the revocation lists should have been replaced, Unix milliseconds; Infinity: never. */
  get nextUpdateMs(): number {
    return Math.min(Infinity, ...this.#lists.map(({ nextUpdateMs }) => nextUpdateMs));
  }

  /** Of a chain, the client's own first, the client's certificate; or why it is not trusted. */
  verify(chain: readonly X509Certificate[], nowMs: number): PeerCertificate | string {
    try {
      this.#verifyChain(chain, nowMs);
      return peerCertificate(chain[0]!);
    } catch (error) {
      return messageOf(error);
    }
  }

  #verifyChain([leaf, ...presented]: readonly X509Certificate[], nowMs: number): void {
    let certificate = leaf!, fields = readCertificate(certificate.raw);
    if (!fields.authenticatesClients) throw new Error("the certificate is not for client authentication");
    for (let below = 0; below <= MAX_INTERMEDIATES; below++) {
      checkTimes(certificate, nowMs);
      this.#checkRevoked(fields);
      if (fields.constrainsNames) throw new Error("the chain has name constraints, which are not supported");
      const authority = this.#authorities.find((issuer) => isIssuedBy(certificate, issuer));
      if (authority !== undefined) return checkAuthority(authority, below, nowMs);
      const issuer = presented.find((other) => isIssuedBy(certificate, other));
      if (issuer === undefined) break;
      certificate = issuer;
      fields = readCertificate(certificate.raw);
      if (!fields.issues || fields.maxIssuersBelow < below) {
        throw new Error("the chain has an issuer that may not issue certificates");
      }
    }
    throw new Error("no certificate authority of TALLY_TLS_CLIENT_CA has issued the certificate");
  }

  #checkRevoked({ issuer, serial }: CertificateFields): void {
    const isRevoked = this.#lists.some((list) => isEqual(list.issuer, issuer) && list.serials.has(serial));
    if (isRevoked) throw new Error("the certificate is revoked");
  }
}

function parseAuthorities(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw new Error('no "BEGIN CERTIFICATE"');
  return blocks.map((block) => {
    const authority = new X509Certificate(block);
    const { issues, constrainsNames } = readCertificate(authority.raw);
    if (!issues) throw new Error(`${authority.subject} is not a certificate authority's certificate`);
    if (constrainsNames) {
      throw new Error(`${authority.subject} has name constraints, which are not supported`);
    }
    return authority;
  });
}

/** An expired authority is trusted no more, as by OpenSSL. */
function checkAuthority(authority: X509Certificate, issuersBelow: number, nowMs: number): void {
  checkTimes(authority, nowMs);
  if (readCertificate(authority.raw).maxIssuersBelow < issuersBelow) {
    throw new Error("the chain is longer than its certificate authority allows");
  }
}

function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  try {
    return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
  } catch {
    return false; // a key of another kind
  }
}

function checkTimes({ validFromDate, validToDate }: X509Certificate, nowMs: number): void {
  if (nowMs < validFromDate.getTime()) throw new Error("the certificate is not valid yet");
  if (nowMs >= validToDate.getTime()) throw new Error("the certificate has expired");
}
