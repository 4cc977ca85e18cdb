/**
 * The settings of a `TelemetryClient`, with their defaults and bounds.
 *
 * @module
 */
import { isSessionName, SESSION_NAME_RULE } from "../protocol/field_limits.ts";
import type { TelemetryClientError } from "./client_error.ts";
import type { Rejection } from "./totals.ts";

/** How a `TelemetryClient` connects and what it keeps. */
export interface TelemetryClientOptions {
  /** Host and port of an ingest, such as `localhost:50051` or `[::1]:50051`. */
  readonly target: string;

  /**
   * Name of the client's session: 1 to 128 printable ASCII characters, used by one client at a time. By
   * default a random one. A client that is given the name of an earlier one goes on behind its packets.
   * Not together with `file`, which has a session of its own.
   */
  readonly session?: string;

  /**
   * A file in which packets are kept until they are settled. A client that is opened with it again sends
   * what was left, after `kill -9` too. One client at a time can open it. Each write is waited for, so
   * sends that are awaited one by one are slower than many at once. Without it, packets are kept in memory
   * only.
   */
  readonly file?: string;

  /**
   * False, the default: packets whose `send` has resolved survive the end of the process; a power cut may
   * lose the latest. True: they survive that too, for a sync of the disk per group of sends.
   */
  readonly fileSync?: boolean;

  /**
   * Packets kept at the most; `send` waits when there are as many. Default 100,000: a tenth of a second,
   * what an Ack takes, at a million packets a second.
   */
  readonly maxBufferedPackets?: number;

  /** Bytes of packets kept at the most, as they are on the wire; `send` waits likewise. Default 16 MiB. */
  readonly maxBufferedBytes?: number;

  /** The first pause before connecting again is a random one up to this, in milliseconds. Default 100. */
  readonly minBackoffMs?: number;

  /** Each further pause may be twice as long, up to this, in milliseconds. Default 10,000. */
  readonly maxBackoffMs?: number;

  /** A connection on which packets wait this long without any being settled is given up. Default 30,000 ms. */
  readonly stallTimeoutMs?: number;

  /** A connection on which nothing arrives for this long is asked for a sign of life. Default 30,000 ms. */
  readonly keepaliveTimeMs?: number;

  /** How long the sign of life may take. Default 10,000 ms. */
  readonly keepaliveTimeoutMs?: number;

  /** Called when Tally says that it has rejected packets of this client; it does not say which. */
  readonly onRejected?: (rejection: Rejection) => void;

  /** Called when a connection is there: Tally has said how much of the session is settled. */
  readonly onConnected?: () => void;

  /** Called when a connection has ended, or could not be had, and another will be tried in `retryInMs`. */
  readonly onDisconnected?: (error: TelemetryClientError, retryInMs: number) => void;
}

/** Options that have a default, with it where none was given. */
export type ResolvedOptions = Required<Omit<TelemetryClientOptions, "session" | "file" | "fileSync">>;

/** Fills in the defaults; throws a TypeError or RangeError for a wrong option. */
export function resolveOptions(options: TelemetryClientOptions): ResolvedOptions {
  const { session, file, fileSync, ...rest } = options;
  if (session !== undefined && file !== undefined) {
    throw new TypeError("session and file are both set: a file has a session of its own; leave one out");
  }
  if (fileSync && file === undefined) throw new TypeError("fileSync is set without file: set file too");
  if (session !== undefined && !isSessionName(session)) {
    throw new TypeError(
      `session is ${JSON.stringify(session)}: use ${SESSION_NAME_RULE}`,
    );
  }
  if (!isTarget(rest.target)) {
    throw new TypeError(`target is ${JSON.stringify(rest.target)}: use host:port, as in localhost:50051`);
  }
  const resolved = {
    maxBufferedPackets: 100_000,
    maxBufferedBytes: 16 * 1024 * 1024,
    minBackoffMs: 100,
    maxBackoffMs: 10_000,
    stallTimeoutMs: 30_000,
    keepaliveTimeMs: 30_000,
    keepaliveTimeoutMs: 10_000,
    onRejected: () => {},
    onConnected: () => {},
    onDisconnected: () => {},
    ...rest,
  };
  for (const [name, value] of Object.entries(resolved)) {
    if (typeof value === "number" && !(Number.isSafeInteger(value) && value > 0)) {
      throw new RangeError(`${name} is ${value}: use a whole number above 0`);
    }
  }
  if (resolved.minBackoffMs > resolved.maxBackoffMs) {
    throw new RangeError(
      `minBackoffMs is ${resolved.minBackoffMs}: use at most maxBackoffMs, ${resolved.maxBackoffMs}`,
    );
  }
  return resolved;
}

/** Whether `target` is `host:port`; gRPC would take `localhost` alone too, for port 443. */
export function isTarget(target: string): boolean {
  const [, port] = /^(?:\[[\da-f:.]+\]|[\w.-]+):(\d{1,5})$/i.exec(target) ?? [];
  return Number(port) >= 1 && Number(port) <= 65535;
}
