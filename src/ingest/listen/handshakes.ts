/**
 * TLS of the device port: handshakes on accepted sockets, bounded in time and number.
 *
 * Sockets are accepted as without TLS, by {@linkcode DeviceListener}, and passed to a `tls.Server` that does not listen.
 *
 * @module
 */
import { X509Certificate } from "node:crypto";
import type { Socket } from "node:net";
import {
  createServer,
  type DetailedPeerCertificate,
  type Server,
  type TlsOptions,
  type TLSSocket,
} from "node:tls";

import type { Logger } from "@logtape/logtape";

import type { PeerCertificate } from "../../identity/identity.ts";
import type { TlsFiles, TlsMaterial } from "../../tls/tls_files.ts";

/** A socket whose handshake is complete: carries what the client sends and receives, decrypted. */
export interface SecureSocket extends TLSSocket {
  /** The client's certificate, which is trusted; undefined: it has none. */
  certificate?: PeerCertificate;
}

/** The owner of sockets whose handshake is complete. */
export interface SecureSocketOwner {
  /** Serves the socket. */
  accept(socket: SecureSocket): void;
  /** Ends the socket: the client's certificate is not trusted. */
  refuse(socket: TLSSocket, reason: string): void;
  /** The files have changed: certificates that were trusted may not be any more. */
  trustChanged(): void;
}

/** What is counted of handshakes. */
export interface HandshakeCounters {
  /** Completed. */
  tlsHandshakes: number;
  /** Of these, with the session of an earlier connection. */
  tlsHandshakesResumed: number;
  /** Failed, timed out, or ended because too many were in progress. */
  tlsHandshakesFailed: number;
  /** Clients refused because their certificate is not trusted. */
  tlsCertificatesRefused: number;
}

/** How handshakes are bounded. */
export interface HandshakeOptions {
  /** Certificates and keys; {@linkcode Handshakes} uses new ones as they change. */
  readonly files: TlsFiles;
  /** Receives a debug line for each that fails. */
  readonly log: Logger;
  /** Unix milliseconds. */
  readonly now: () => number;
  /** Time for a handshake; default {@linkcode HANDSHAKE_TIMEOUT_MS}. */
  readonly timeoutMs?: number | undefined;
  /** Handshakes in progress; for a further one the oldest is ended. Default {@linkcode MAX_HANDSHAKES}. */
  readonly maxInProgress?: number | undefined;
}

/** A handshake is one or two round trips. */
const HANDSHAKE_TIMEOUT_MS = 10_000;

/** Those of some four seconds: each takes about a millisecond of processor time (measured: 0.6 to 1.2 ms). */
const MAX_HANDSHAKES = 4096;

/** Intermediate certificates that are read of what a client presents. */
const MAX_PRESENTED = 8;

/** The handshakes in progress. */
export class Handshakes {
  readonly #server: Server;
  readonly #options: HandshakeOptions;
  readonly #counters: HandshakeCounters;
  readonly #owner: SecureSocketOwner;
  /** By the client's address and port; the oldest first. */
  readonly #inProgress = new Map<string, Socket>();
  #material: TlsMaterial;

  /** Passes each socket whose handshake is complete to `owner`. */
  constructor(options: HandshakeOptions, counters: HandshakeCounters, owner: SecureSocketOwner) {
    this.#options = options;
    this.#counters = counters;
    this.#owner = owner;
    this.#material = options.files.material;
    const { timeoutMs = HANDSHAKE_TIMEOUT_MS } = options;
    this.#server = createServer({ ...tlsOptions(this.#material), handshakeTimeout: timeoutMs });
    this.#server.on("secureConnection", (socket: TLSSocket) => this.#secured(socket));
    this.#server.on("tlsClientError", (error: Error, socket: TLSSocket) => this.#failed(error, socket));
    options.files.onChange = (material) => this.#replace(material);
  }

  /** Handshakes in progress. */
  get size(): number {
    return this.#inProgress.size;
  }

  /** Their sockets, the oldest first. */
  sockets(): Iterable<Socket> {
    return this.#inProgress.values();
  }

  /** Begins the handshake on an accepted socket. */
  begin(socket: Socket): void {
    const { maxInProgress = MAX_HANDSHAKES } = this.#options;
    if (this.#inProgress.size >= maxInProgress) this.#inProgress.values().next().value!.destroy();
    const key = keyOf(socket);
    this.#inProgress.set(key, socket);
    socket.once("close", () => {
      if (this.#inProgress.get(key) === socket) this.#inProgress.delete(key);
    });
    this.#server.emit("connection", socket);
  }

  /**
   * The certificate of the client, if it is trusted now; why it is not, as text; undefined: the client has none, or none
   * was requested.
   */
  verify(socket: TLSSocket): PeerCertificate | string | undefined {
    const { clients } = this.#material;
    const chain = clients === undefined ? [] : chainOf(socket);
    if (clients === undefined || chain.length === 0) return undefined;
    const verified = clients.verify(chain, this.#options.now());
    if (typeof verified === "string" || socket.authorized) return verified;
    return `the certificate is not valid: ${socket.authorizationError}`;
  }

  #replace(material: TlsMaterial): void {
    this.#material = material;
    this.#server.setSecureContext(tlsOptions(material));
    this.#owner.trustChanged();
  }

  #secured(socket: SecureSocket): void {
    this.#counters.tlsHandshakes++;
    if (socket.isSessionReused()) this.#counters.tlsHandshakesResumed++;
    const verified = this.verify(socket);
    // A refused one stays among those in progress until it is closed.
    if (typeof verified === "string") return this.#refuse(socket, verified);
    this.#inProgress.delete(keyOf(socket));
    if (verified !== undefined) socket.certificate = verified;
    this.#owner.accept(socket);
  }

  #refuse(socket: TLSSocket, reason: string): void {
    this.#counters.tlsCertificatesRefused++;
    this.#options.log.warn("a device's certificate is refused", { reason, ...addressOf(socket) });
    socket.on("error", () => {}); // "close" follows
    this.#owner.refuse(socket, reason);
  }

  #failed(error: Error, socket: TLSSocket): void {
    this.#counters.tlsHandshakesFailed++;
    const reason = /InvalidContentType/.test(error.message)
      ? "the client sent plain text, and the port has TLS"
      : error.message;
    this.#options.log.debug("TLS handshake failed", { reason, ...addressOf(socket) });
    socket.destroy();
  }
}

/** Clients need a certificate only for what requires an identity: health checks do without. */
function tlsOptions({ pair: { cert, key }, clients }: TlsMaterial): TlsOptions {
  const base: TlsOptions = { cert, key, ALPNProtocols: ["h2"], minVersion: "TLSv1.2" };
  if (clients === undefined) return base;
  return { ...base, ca: clients.caPem, requestCert: true, rejectUnauthorized: false };
}

/** The client's certificate and those presented with it; empty: the client has none. */
function chainOf(socket: TLSSocket): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let certificate: Partial<DetailedPeerCertificate> | undefined = socket.getPeerCertificate(true);
  while (certificate?.raw !== undefined && chain.length < MAX_PRESENTED) {
    chain.push(new X509Certificate(certificate.raw));
    // The issuer of a self-signed one is itself.
    const { issuerCertificate }: Partial<DetailedPeerCertificate> = certificate;
    certificate = issuerCertificate === certificate ? undefined : issuerCertificate;
  }
  return chain;
}

/** Unique among the open connections to a port. */
function keyOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress}:${remotePort}`;
}

function addressOf({ remoteAddress, remotePort }: Socket) {
  return { address: remoteAddress, port: remotePort };
}
