/**
 * What ingest processes report of themselves.
 *
 * @module
 */

/** What one ingest process reports of itself. */
export interface InstanceReport {
  /** Unique to one run of one process. */
  readonly instance: string;
  /** Name of the machine. */
  readonly host: string;
  /** Process id there. */
  readonly pid: number;
  /** Number among the workers of one supervisor, from 1; 0 for a process of its own. */
  readonly worker: number;
  /** Address and port on which it takes packets. */
  readonly ingestAddress: string;
  /** Whether the fast path serves telemetry. */
  readonly fastPath: boolean;
  /** Version of Tally it runs. */
  readonly version: string;
  /** When it started, Unix milliseconds. */
  readonly startedMs: number;
  /** Processor time it used since, seconds. */
  readonly cpuSeconds: number;
  /** Memory it uses, bytes. */
  readonly residentBytes: number;
  /** Greatest delay of a timer in it during the last minute, milliseconds: event-loop lag. */
  readonly eventLoopLagMs: number;
  /** When this was said, Unix milliseconds. */
  readonly reportedMs: number;
  /** Packets stored per second since the report before. */
  readonly rate: number;
  /** Device streams open. */
  readonly streams: number;
  /** Connections open. */
  readonly connections: number;
  /** How many may be open. */
  readonly maxConnections: number;
  /** Whether it takes further connections: false while it has no file descriptors, and when it drains. */
  readonly accepting: boolean;
  /** Packets waiting for the store. */
  readonly queuePackets: number;
  /** How many may wait. */
  readonly queueMaxPackets: number;
  /** Packets read from streams since it started. */
  readonly received: number;
  /** Of these: counted by the store. */
  readonly stored: number;
  /** Of these: had already. */
  readonly duplicates: number;
  /** Of these: left to a newer stream of the session. */
  readonly fenced: number;
  /** Times the store was found to hold less of a session than it had acknowledged or stored. */
  readonly sessionsReverted: number;
  /** Acknowledged packets that the store did not hold any more when their session was claimed. */
  readonly packetsLost: number;
  /** Of these: refused, by the name of the reason; only reasons that occurred. */
  readonly rejected: Readonly<Record<string, number>>;
  /** Times a stream had to wait because the queue was full. */
  readonly queueFull: number;
  /** Times the store did not take a batch, which was then tried again. */
  readonly failedFlushes: number;
  /** Connections ended for breaking HTTP/2's rules or Tally's bounds, or without a sign of life. */
  readonly connectionsCut: number;
  /** Connections closed at once because `maxConnections` were open. */
  readonly connectionsRefused: number;
  /** Calls refused for bounds of their connection. */
  readonly callsRefused: number;
  /** Streams reset for what the device sent on them. */
  readonly streamsReset: number;
  /** Log lines dropped because their reader was too slow. */
  readonly logLinesDropped: number;
  /** How far the machine's clock is ahead of the store's, in whole seconds as milliseconds; negative: behind. */
  readonly clockAheadMs: number;
}

/** The latest report of each ingest process. */
export interface InstanceRegistry {
  /** Publishes the report of an ingest process, in place of its earlier one. */
  reportInstance(report: InstanceReport): Promise<void>;

  /** Deletes the report of an instance. */
  removeInstance(instance: string): Promise<void>;

  /** The reports that are not older than {@linkcode INSTANCE_EXPIRY_MS}, by host, address and worker. */
  instances(nowMs: number): Promise<readonly InstanceReport[]>;
}

/** An instance that has not reported for so long is gone. */
export const INSTANCE_EXPIRY_MS = 10_000;
