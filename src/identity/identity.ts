/**
 * Who calls: what a device's or a reader's credentials prove.
 *
 * @module
 */
import { RequestError } from "../protocol/request_error.ts";

/** A client's certificate whose chain was verified against `TALLY_TLS_CLIENT_CA`. */
export interface PeerCertificate {
  /** Common name of the subject; empty if it has none. */
  readonly commonName: string;
  /** Subject alternative names of type DNS. */
  readonly dnsNames: readonly string[];
  /** Subject alternative names of type URI. */
  readonly uris: readonly string[];
  /** Serial number, hexadecimal. */
  readonly serialNumber: string;
  /** SHA-256 of the certificate, hexadecimal digits. */
  readonly fingerprint: string;
  /** End of its validity, Unix milliseconds. */
  readonly expiresMs: number;
}

/** How a device proved who it is. */
export type DeviceAuthKind = "none" | "token" | "jwt" | "mtls";

/** The sender of packets, and the devices it may send for. */
export interface DeviceIdentity {
  /** How it was proved. */
  readonly kind: DeviceAuthKind;
  /** Name in the log, owner of its sessions, and key of its limits; empty for an anonymous device. */
  readonly subject: string;
  /** The ids, and patterns of ids, that it may send packets of. */
  readonly devices: readonly string[];
  /** When it ends by itself, Unix milliseconds; Infinity: never. */
  readonly expiresMs: number;
}

/** Every device without credentials, where none are required. */
export const anonymousDevice: DeviceIdentity = {
  kind: "none",
  subject: "",
  devices: ["*"],
  expiresMs: Infinity,
};

/** What a reader's token allows. */
export const SCOPES = ["read", "metrics", "admin"] as const;
/** One of {@linkcode SCOPES}: reads everything; reads `/metrics` alone; does everything. */
export type Scope = typeof SCOPES[number];

/** Whether `pattern`, an id or the beginning of ids followed by `*`, covers the id. */
export function covers(pattern: string, deviceId: string): boolean {
  return pattern.endsWith("*") ? deviceId.startsWith(pattern.slice(0, -1)) : deviceId === pattern;
}

/** The error of a call whose credentials are missing, wrong, expired or revoked. */
export function unauthenticated(found: string, remedy: string): RequestError {
  return new RequestError("UNAUTHENTICATED", `${found}: ${remedy}`);
}
