/**
 * An ingest with TLS.
 *
 * @module
 */
import type { ConnectionOptions } from "node:tls";

import type { IngestOptions } from "../../src/ingest/ingest.ts";
import type { Store } from "../../src/store/store.ts";
import { TlsFiles } from "../../src/tls/tls_files.ts";
import type { Certificates } from "./certificates.ts";
import {
  ingestDefaults,
  startTestIngest,
  temporaryStore,
  type TestIngest,
  type TestTarget,
} from "./harness.ts";

/** How it differs from {@linkcode startTestIngest}'s. */
export interface TlsIngestOptions extends Omit<Partial<IngestOptions>, "tls" | "store"> {
  /** Clients' certificates of the authority `ca` are requested. */
  readonly clients?: boolean;
  /** File of the revocation list. */
  readonly crl?: string;
  /** Bounds of handshakes. */
  readonly tls?: Partial<IngestOptions["tls"]>;
}

/** A running ingest, its store and its files. */
export interface TlsIngest extends AsyncDisposable {
  readonly ingest: TestIngest;
  readonly store: Store;
  readonly files: TlsFiles;
  /** Where devices connect, with further options of theirs. */
  target(more?: ConnectionOptions): Exclude<TestTarget, number>;
}

/** Starts it with the certificate `server`; its files are watched. */
export async function startTlsIngest(
  certificates: Certificates,
  { clients, crl, tls, ...options }: TlsIngestOptions = {},
): Promise<TlsIngest> {
  await using parts = new AsyncDisposableStack();
  const store = parts.use(await temporaryStore());
  const file = (setting: string, name: string) => ({ setting, path: certificates.file(name) });
  const files = await TlsFiles.open({
    cert: file("TALLY_TLS_CERT", "server.pem"),
    key: file("TALLY_TLS_KEY", "server.key"),
    clientCa: clients ? file("TALLY_TLS_CLIENT_CA", "ca.pem") : undefined,
    clientCrl: crl === undefined ? undefined : file("TALLY_TLS_CLIENT_CRL", crl),
  }, { log: ingestDefaults.log, now: Date.now, intervalMs: 20 });
  parts.defer(() => files.close());
  const ingest = parts.use(
    await startTestIngest({ ...options, store, tls: { files, now: Date.now, ...tls } }),
  );
  const moved = parts.move();
  return {
    ingest,
    store,
    files,
    target: (more = {}) => ({ port: ingest.port, tls: { ca: certificates.text("ca.pem"), ...more } }),
    [Symbol.asyncDispose]: () => moved.disposeAsync(),
  };
}

/** How a suite connects: the ways that have to behave the same. */
export const variants = [
  { title: "telemetry by the fast path", fastPath: true, secure: false },
  { title: "telemetry by grpc-js", fastPath: false, secure: false },
  { title: "telemetry by the fast path, over TLS", fastPath: true, secure: true },
] as const;

/** Starts an ingest of a variant on a store of its own. */
export async function startVariant(
  { fastPath, secure }: typeof variants[number],
): Promise<
  AsyncDisposable & { readonly ingest: TestIngest; readonly target: TestTarget; readonly store: Store }
> {
  await using parts = new AsyncDisposableStack();
  if (!secure) {
    const store = parts.use(await temporaryStore());
    const ingest = parts.use(await startTestIngest({ store, fastPath }));
    const moved = parts.move();
    return { ingest, store, target: ingest.port, [Symbol.asyncDispose]: () => moved.disposeAsync() };
  }
  const { Certificates } = await import("./certificates.ts");
  const certificates = parts.use(await Certificates.make());
  const { ingest, store, target, [Symbol.asyncDispose]: stop } = await startTlsIngest(certificates, {
    fastPath,
  });
  parts.defer(stop);
  const moved = parts.move();
  return { ingest, store, target: target(), [Symbol.asyncDispose]: () => moved.disposeAsync() };
}
