/**
 * The settings of a `TelemetryClient`, with their defaults and bounds.
 *
 * @module
 */
import { isSessionName, SESSION_NAME_RULE } from "../protocol/field_limits.ts";
import type { TelemetryClientError } from "./client_error.ts";
import type { Rejection } from "./totals.ts";

/** Returns the current token; called for each call. */
export type TokenSource = () => string | Promise<string>;

/** TLS of the connection; texts in PEM. */
export interface ClientTls {
  /** Authorities of the ingest's certificate; by default those that Deno trusts. */
  readonly ca?: string;
  /** The device's certificate, where Tally requests one; with `key`. */
  readonly cert?: string;
  /** The private key of `cert`. */
  readonly key?: string;
}

/** How much a client keeps of what was acknowledged: the latest packets that are within all of these. */
export interface KeepAcked {
  /** Most packets. Default 100,000. */
  readonly packets?: number;
  /** Most bytes, as encoded. Default 16 MiB. */
  readonly bytes?: number;
  /**
   * Time since they were acknowledged, in milliseconds; default: any. Checked when further packets are acknowledged, and
   * with a precision of a hundredth.
   */
  readonly durationMs?: number;
}

/** How a `TelemetryClient` connects and what it keeps. */
export interface TelemetryClientOptions {
  /** Host and port of an ingest, such as `localhost:50051` or `[::1]:50051`. */
  readonly target: string;

  /**
   * What the operator of Tally gave the device: sent with each call as `authorization: Bearer …`, in plain text unless the
   * connection has TLS. A function where tokens are replaced, because they expire for example: when Tally refuses a token,
   * the client goes on with the next one, and fails for good if that is the same.
   */
  readonly token?: string | TokenSource;

  /**
   * Set: the connection has TLS, for which the host of `target` must be a name of the ingest's certificate; `{}`: with
   * the authorities that Deno trusts. Not set, the default: plain text.
   */
  readonly tls?: ClientTls;

  /**
   * Name of the client's session: 1 to 128 printable ASCII characters, used by one client at a time. By
   * default a random one. A client with the name of an earlier one continues after its packets.
   * Not together with `file`, which has a session of its own.
   */
  readonly session?: string;

  /**
   * A file in which packets are kept until they are settled. A client that opens it again sends the packets
   * that are left, also after `kill -9`. One client at a time can open it. `send` waits for the write to the
   * file, so sends that are awaited one by one are slower than many at once. Without it, packets are kept in
   * memory only.
   */
  readonly file?: string;

  /**
   * False, the default: packets whose `send` has resolved survive the end of the process; a power cut may
   * lose the latest. True: they survive that too, at the cost of a sync of the disk per group of sends.
   */
  readonly fileSync?: boolean;

  /**
   * Most packets kept; `send` waits at the limit. Default 100,000: the packets of a tenth of a second, the
   * delay of an Ack, at a million packets a second.
   */
  readonly maxBufferedPackets?: number;

  /** Most bytes of packets kept, as encoded; `send` waits at the limit. Default 16 MiB. */
  readonly maxBufferedBytes?: number;

  /**
   * Acknowledged packets that are kept for a store that comes back older than it was, or empty: those that it does not
   * hold any more are sent again, each once. In memory, and in `file` if there is one. Default: none.
   */
  readonly keepAcked?: KeepAcked;

  /** Upper bound of the first, random wait before connecting again, in milliseconds. Default 100. */
  readonly minBackoffMs?: number;

  /** Each further bound is twice the one before, up to this, in milliseconds. Default 10,000. */
  readonly maxBackoffMs?: number;

  /** A connection is closed when packets wait for so long and none is settled. Default 30,000 ms. */
  readonly stallTimeoutMs?: number;

  /** Idle time after which a keepalive PING is sent. Default 30,000 ms. */
  readonly keepaliveTimeMs?: number;

  /** Keepalive timeout: time for the reply to it. Default 10,000 ms. */
  readonly keepaliveTimeoutMs?: number;

  /** Called when an Ack reports rejected packets of this client: a reason and a number, not which. */
  readonly onRejected?: (rejection: Rejection) => void;

  /** Called when acknowledged packets are lost: the store does not hold them any more, and the client has not kept them. */
  readonly onLost?: (packets: number) => void;

  /** Called when a call owns the session: Tally has sent how many of its packets are settled. */
  readonly onConnected?: () => void;

  /** Called when a connection has ended or failed; the next attempt starts in `retryInMs`. */
  readonly onDisconnected?: (error: TelemetryClientError, retryInMs: number) => void;
}

/** Options with their defaults filled in. */
export type ResolvedOptions =
  & Required<Omit<TelemetryClientOptions, "session" | "file" | "fileSync" | "token" | "tls" | "keepAcked">>
  & Pick<TelemetryClientOptions, "token" | "tls" | "keepAcked">;

/** Fills in the defaults; throws a TypeError or RangeError for a wrong option. */
export function resolveOptions(options: TelemetryClientOptions): ResolvedOptions {
  const { session, file, fileSync, ...rest } = options;
  if (session !== undefined && file !== undefined) {
    throw new TypeError(
      "Cannot use session and file together: a file has a session of its own; set one of them",
    );
  }
  if (fileSync && file === undefined) throw new TypeError("Cannot use fileSync without file: set file too");
  if (session !== undefined && !isSessionName(session)) {
    throw new TypeError(
      `Cannot use session ${JSON.stringify(session)}: use ${SESSION_NAME_RULE}`,
    );
  }
  if (!isTarget(rest.target)) {
    throw new TypeError(
      `Cannot use target ${JSON.stringify(rest.target)}: use host:port, as in localhost:50051`,
    );
  }
  if (typeof rest.token === "string") assertToken(rest.token);
  assertTls(rest.tls);
  const resolved = {
    maxBufferedPackets: 100_000,
    maxBufferedBytes: 16 * 1024 * 1024,
    minBackoffMs: 100,
    maxBackoffMs: 10_000,
    stallTimeoutMs: 30_000,
    keepaliveTimeMs: 30_000,
    keepaliveTimeoutMs: 10_000,
    onRejected: () => {},
    onLost: () => {},
    onConnected: () => {},
    onDisconnected: () => {},
    ...rest,
  };
  const kept = Object.entries(rest.keepAcked ?? {}).map(([name, value]) => [`keepAcked.${name}`, value]);
  for (const [name, value] of [...Object.entries(resolved), ...kept]) {
    if (typeof value === "number" && !(Number.isSafeInteger(value) && value > 0)) {
      throw new RangeError(`Cannot use ${name} ${value}: use a whole number above 0`);
    }
  }
  if (resolved.minBackoffMs > resolved.maxBackoffMs) {
    throw new RangeError(
      `Cannot use minBackoffMs ${resolved.minBackoffMs}: use at most maxBackoffMs, ${resolved.maxBackoffMs}`,
    );
  }
  return resolved;
}

function assertTls(tls: ClientTls | undefined): void {
  if (tls === undefined) return;
  if ((tls.cert === undefined) !== (tls.key === undefined)) {
    throw new TypeError("Cannot use one of tls.cert and tls.key: set both, or neither");
  }
  for (const [name, text] of Object.entries(tls)) {
    if (text !== undefined && !/-----BEGIN /.test(String(text))) {
      throw new TypeError(`Cannot use tls.${name}: found a text that is not PEM`);
    }
  }
}

/** Throws a TypeError, which does not show the token, if it cannot be sent. */
export function assertToken(token: unknown): asserts token is string {
  if (typeof token === "string" && /^[\x21-\x7e]+$/.test(token)) return;
  throw new TypeError(
    "Cannot use the token: found spaces, or characters that are not printable ASCII, or none",
  );
}

/** Whether `target` is `host:port`; gRPC accepts `localhost` alone too, for port 443. */
export function isTarget(target: string): boolean {
  const [, port] = /^(?:\[[\da-f:.]+\]|[\w.-]+):(\d{1,5})$/i.exec(target) ?? [];
  return Number(port) >= 1 && Number(port) <= 65535;
}
