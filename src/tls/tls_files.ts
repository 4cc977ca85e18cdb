/**
 * The files of TLS: read at the start, watched, and read again when they change. A change that is wrong leaves what is
 * in use as it is.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import { messageOf } from "../runtime/error_text.ts";
import { ClientTrust } from "./client_certificates.ts";
import { type KeyPair, parseKeyPair } from "./key_pair.ts";

/** One file, and the setting that names it. */
export interface TlsFile {
  /** The setting's name, for errors. */
  readonly setting: string;
  /** Where it is. */
  readonly path: string;
}

/** The files of one port. */
export interface TlsPaths {
  /** Certificate chain, PEM. */
  readonly cert: TlsFile;
  /** Its private key, PEM. */
  readonly key: TlsFile;
  /** Certificate authorities of clients, PEM; undefined: clients have no certificates. */
  readonly clientCa?: TlsFile | undefined;
  /** What these have revoked, PEM. */
  readonly clientCrl?: TlsFile | undefined;
}

/** What is in use. */
export interface TlsMaterial {
  /** The server's certificate. */
  readonly pair: KeyPair;
  /** Which clients' certificates are trusted; undefined: none is requested. */
  readonly clients: ClientTrust | undefined;
}

/** How {@linkcode TlsFiles} are watched. */
export interface TlsFilesOptions {
  /** Receives a line when files were read again, with an error when they are wrong, and when something expires. */
  readonly log: Logger;
  /** Unix milliseconds. */
  readonly now: () => number;
  /** Default one second. */
  readonly intervalMs?: number;
}

/** Polled, because changes of symbolic links, with which Kubernetes replaces files, are not reported as events. */
const WATCH_INTERVAL_MS = 1000;

/** Remaining validity below which a warning is logged, once a day. */
const WARN_BEFORE_MS = 7 * 86_400_000, WARN_INTERVAL_MS = 86_400_000;

/** The files of a port, in their latest state that could be used. */
export class TlsFiles {
  /** Called after a change was read. */
  onChange: (material: TlsMaterial) => void = () => {};
  readonly #paths: TlsPaths;
  readonly #options: TlsFilesOptions;
  readonly #watching: ReturnType<typeof setInterval>;
  #material: TlsMaterial;
  #signature: string;
  #failed = false;
  #checking: Promise<void> | undefined;
  #warnedAtMs = -Infinity;

  private constructor(paths: TlsPaths, options: TlsFilesOptions, material: TlsMaterial, signature: string) {
    this.#paths = paths;
    this.#options = options;
    this.#material = material;
    this.#signature = signature;
    this.#warnOfExpiry();
    this.#watching = setInterval(() => {
      this.#checking ??= this.check().finally(() => this.#checking = undefined);
    }, options.intervalMs ?? WATCH_INTERVAL_MS);
  }

  /** Reads the files and begins to watch them; rejects where they cannot be used. */
  static async open(paths: TlsPaths, options: TlsFilesOptions): Promise<TlsFiles> {
    const signature = await signatureOf(paths);
    return new TlsFiles(paths, options, await readMaterial(paths, options.now()), signature);
  }

  /** What is in use. */
  get material(): TlsMaterial {
    return this.#material;
  }

  /** Time until the certificate in use ends, negative after that; and whether a change of the files could not be used. */
  get state(): { readonly expiresInMs: number; readonly reloadFailed: boolean } {
    const expiresInMs = Math.floor(this.#material.pair.expiresMs - this.#options.now());
    return { expiresInMs, reloadFailed: this.#failed };
  }

  /** Reads the files again if they have changed; called by the watch. */
  async check(): Promise<void> {
    this.#warnOfExpiry();
    const signature = await signatureOf(this.#paths);
    if (signature === this.#signature) return;
    const { log } = this.#options;
    try {
      this.#material = await readMaterial(this.#paths, this.#options.now());
    } catch (error) {
      // The next look tries again: a file of the two may not have been replaced yet.
      if (!this.#failed) {
        log.error("TLS files have changed and cannot be used: the former ones stay", { error });
      }
      this.#failed = true;
      return;
    }
    this.#signature = signature;
    this.#failed = false;
    const { names, expiresMs } = this.#material.pair;
    log.info("TLS files were read again", { certificate: names, expires: new Date(expiresMs).toISOString() });
    this.onChange(this.#material);
  }

  /** Watches no more. */
  async close(): Promise<void> {
    clearInterval(this.#watching);
    await this.#checking;
  }

  #warnOfExpiry(): void {
    const nowMs = this.#options.now();
    if (nowMs - this.#warnedAtMs < WARN_INTERVAL_MS) return;
    const { pair, clients } = this.#material;
    const expires = new Date(pair.expiresMs).toISOString();
    const isOldList = clients !== undefined && clients.nextUpdateMs < nowMs;
    if (pair.expiresMs - nowMs < WARN_BEFORE_MS) {
      this.#options.log.warn("the TLS certificate ends soon, or has ended", { expires });
    }
    if (isOldList) {
      this.#options.log.warn("the revocation list is older than it should be, and stays in effect", {
        nextUpdate: new Date(clients.nextUpdateMs).toISOString(),
      });
    }
    if (isOldList || pair.expiresMs - nowMs < WARN_BEFORE_MS) this.#warnedAtMs = nowMs;
  }
}

/** What a port reports of its TLS. */
export interface TlsReport {
  /** It has TLS. */
  readonly tls: boolean;
  /** Time until the certificate in use ends, negative after that; 0 without TLS. */
  readonly tlsCertificateExpiresMs: number;
  /** The files have changed and cannot be used. */
  readonly tlsReloadFailed: boolean;
}

/** Of a port's files; undefined: it has no TLS. */
export function tlsMetrics(files: TlsFiles | undefined): TlsReport {
  const { expiresInMs, reloadFailed } = files?.state ?? { expiresInMs: 0, reloadFailed: false };
  return { tls: files !== undefined, tlsCertificateExpiresMs: expiresInMs, tlsReloadFailed: reloadFailed };
}

/** Reads and checks the files once. */
export async function readMaterial(paths: TlsPaths, nowMs: number): Promise<TlsMaterial> {
  const { cert, key, clientCa, clientCrl } = paths;
  const [certText, keyText, caText, crlText] = await Promise.all([
    readText(cert),
    readText(key),
    clientCa === undefined ? undefined : readText(clientCa),
    clientCrl === undefined ? "" : readText(clientCrl),
  ]);
  const pair = checked([cert, key], () => parseKeyPair(certText, keyText, nowMs));
  const clients = caText === undefined
    ? undefined
    : checked([clientCa, clientCrl], () => new ClientTrust(caText, crlText));
  return { pair, clients };
}

async function readText({ setting, path }: TlsFile): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (cause) {
    throw new Error(
      `Cannot use ${setting} ${path}: found that it cannot be read (${
        messageOf(cause)
      }); set the path of a PEM file`,
      { cause },
    );
  }
}

function checked<Result>(files: readonly (TlsFile | undefined)[], parse: () => Result): Result {
  try {
    return parse();
  } catch (cause) {
    const named = files.filter((file) => file !== undefined).map(({ setting, path }) => `${setting} ${path}`);
    throw new Error(
      `Cannot use ${named.join(" and ")}: found ${messageOf(cause).replace(/^found /, "")}; ` +
        "set files in PEM that belong together and are valid now",
      { cause },
    );
  }
}

/** Differs when a file was written or replaced. */
async function signatureOf({ cert, key, clientCa, clientCrl }: TlsPaths): Promise<string> {
  const files = [cert, key, clientCa, clientCrl].filter((file) => file !== undefined);
  const states = files.map(async ({ path }) => {
    try {
      const { ino, size, mtime } = await Deno.stat(path);
      return `${ino} ${size} ${mtime?.getTime()}`;
    } catch {
      return "missing";
    }
  });
  return (await Promise.all(states)).join(", ");
}
