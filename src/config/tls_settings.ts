/**
 * The settings of TLS; `config.ts` has the others.
 *
 * @module
 */
import { optional, path } from "../runtime/settings.ts";
import type { TlsFile, TlsPaths } from "../tls/tls_files.ts";

const tls = { group: "TLS" };

/** The settings by the names the code uses. */
export const tlsSettings = {
  tlsCert: optional(path("TALLY_TLS_CERT", {
    ...tls,
    role: "both",
    default: "",
    common: true,
    help: "PEM file of a certificate and its chain: both ports have TLS; with TALLY_TLS_KEY.",
  })),
  tlsKey: optional(path("TALLY_TLS_KEY", {
    ...tls,
    role: "both",
    default: "",
    help: "PEM file of its private key. Files of TLS are read again when they change.",
  })),
  httpTlsCert: optional(path("TALLY_HTTP_TLS_CERT", {
    ...tls,
    role: "api",
    default: "",
    help: "The same for readers alone, instead of TALLY_TLS_CERT.",
  })),
  httpTlsKey: optional(path("TALLY_HTTP_TLS_KEY", {
    ...tls,
    role: "api",
    default: "",
    help: "PEM file of the private key of TALLY_HTTP_TLS_CERT.",
  })),
  tlsClientCa: optional(path("TALLY_TLS_CLIENT_CA", {
    ...tls,
    role: "ingest",
    default: "",
    help: "PEM file of authorities of device certificates; without it none are requested.",
  })),
  tlsClientCrl: optional(path("TALLY_TLS_CLIENT_CRL", {
    ...tls,
    role: "ingest",
    default: "",
    help: "PEM file of lists of revoked device certificates (X509 CRL).",
  })),
} as const;

/** Their values. */
export type TlsConfig = { readonly [Name in keyof typeof tlsSettings]: string | undefined };

/** The files of the device port; undefined: it has no TLS. */
export function deviceTlsPaths(config: TlsConfig): TlsPaths | undefined {
  const cert = file("tlsCert", config), key = file("tlsKey", config);
  if (cert === undefined || key === undefined) return undefined;
  return { cert, key, clientCa: file("tlsClientCa", config), clientCrl: file("tlsClientCrl", config) };
}

/** The files of the readers' port; undefined: it has no TLS. */
export function readerTlsPaths(config: TlsConfig): TlsPaths | undefined {
  const cert = file("httpTlsCert", config) ?? file("tlsCert", config);
  const key = file("httpTlsKey", config) ?? file("tlsKey", config);
  return cert === undefined || key === undefined ? undefined : { cert, key };
}

/** All files that are set. */
export function tlsFilePaths(config: TlsConfig): string[] {
  return Object.keys(tlsSettings)
    .map((name) => config[name as keyof TlsConfig])
    .filter((path) => path !== undefined);
}

function file(name: keyof TlsConfig, config: TlsConfig): TlsFile | undefined {
  const path = config[name];
  return path === undefined ? undefined : { setting: tlsSettings[name].env ?? name, path };
}
