/**
 * The ingest role: device → gRPC server → queue → writer → store.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import type { ConnectionLimits } from "../http2/limits.ts";
import type { DeviceAuthenticator } from "../identity/device_authenticator.ts";
import { type AccountLimits, Accounts } from "../limits/accounts.ts";
import type { InstanceReport } from "../metrics/ingest_metrics.ts";
import { formatAddress } from "../runtime/address.ts";
import { systemClock } from "../runtime/clock.ts";
import type { DescriptorReserve } from "../runtime/descriptors.ts";
import { messageOf } from "../runtime/error_text.ts";
import { type ProcessFigures, ProcessMonitor } from "../runtime/process_figures.ts";
import { VERSION } from "../runtime/version.ts";
import type { DeviceLimits } from "../store/packets.ts";
import type { Store } from "../store/store.ts";
import { tlsMetrics } from "../tls/tls_files.ts";
import { DeviceTable } from "./batch/device_table.ts";
import { PacketQueue } from "./batch/queue.ts";
import { Writer, type WriterOptions } from "./batch/writer.ts";
import type { ConnectionAgeOptions } from "./connection_ages.ts";
import { countedReport, createCounters, type IngestCounters } from "./counters.ts";
import type { ConnectionLimitOptions } from "./listen/connection_limits.ts";
import type { HandshakeOptions } from "./listen/handshakes.ts";
import { startReporting } from "./report.ts";
import { CallerCheck } from "./rpc/caller_check.ts";
import { TelemetryServer } from "./server.ts";
import { watchIdentities } from "./stream/identity_watch.ts";
import { type IngestState, shuttingDown } from "./stream/ingest_state.ts";
import { Reverts } from "./stream/reverts.ts";

/** Settings of the role; `config.ts` describes each. */
export interface IngestOptions extends AccountLimits, ConnectionLimitOptions, ConnectionAgeOptions {
  /** Address to listen on. */
  readonly host: string;
  /** Port to listen on; 0: any free port. */
  readonly port: number;
  /** Other processes may listen on the port too. */
  readonly reusePort: boolean;
  /** Packets that may wait for the store. */
  readonly queueMaxPackets: number;
  /** Bytes of messages that may wait for the store. */
  readonly queueMaxBytes: number;
  /** Longest time that a packet waits for others to be stored with it, while no stream waits for its Ack. */
  readonly flushIntervalMs: number;
  /** Largest payload of a packet. */
  readonly maxPayloadBytes: number;
  /** Largest gRPC message. */
  readonly maxMessageBytes: number;
  /** How far ahead of the server a timestamp may be. */
  readonly maxClockAheadMs: number;
  /** Whether gRPC's reflection is served; default true. */
  readonly reflection?: boolean;
  /** Sessions in the store; 0: no limit. Default: 0. */
  readonly maxSessions?: number;
  /** Devices in the store; 0: no limit. Default: 0. */
  readonly maxDevices?: number;
  /** Devices that all ingests together add in a minute; 0: no limit. Default: 0. */
  readonly newDevicesPerMinute?: number;
  /** Entries of the packet stream; 0: there is none. Default: 0. */
  readonly packetStream?: number;
  /** File descriptors that connections leave to the rest of the process; default: none. */
  readonly reserve?: DescriptorReserve;
  /** See {@linkcode WriterOptions}; default: nothing is called. */
  readonly onFlushed?: WriterOptions["onFlushed"];
  /** Log lines that this process has dropped so far; default: none. */
  readonly logLinesDropped?: () => number;
  /** How long the store may fail before the health service reports NOT_SERVING. */
  readonly storeGraceMs: number;
  /** Deadline of a drain. */
  readonly drainTimeoutMs: number;
  /** Name of the machine, for the api to show. */
  readonly hostName: string;
  /** Process id, for the api to show. */
  readonly pid: number;
  /** Number among the workers of one supervisor, from 1; 0 for a process of its own. */
  readonly worker: number;
  /** Verifies senders of packets; default: anyone may, of any device. */
  readonly authenticator?: DeviceAuthenticator;
  /** Default true; false: grpc-js serves uncompressed telemetry too. */
  readonly fastPath?: boolean;
  /** TLS of the port; default: plain text. */
  readonly tls?: Omit<HandshakeOptions, "log"> | undefined;
  /** Bounds of each connection; default: those of `http2/limits.ts`. */
  readonly limits?: ConnectionLimits;
  /** Where packets are kept; the caller closes it. */
  readonly store: Store;
  /** Receives lines for the operator. */
  readonly log: Logger;
  /** Server time, Unix milliseconds. */
  readonly now: () => number;
  /** How far the machine's clock is ahead of {@linkcode now}, for the api to show; default not at all. */
  readonly clockAheadMs?: () => number;
}

/** A running ingest role. */
export interface RunningIngest {
  /** Address bound. */
  readonly host: string;
  /** TCP port bound. */
  readonly port: number;
  /** See {@linkcode IngestOptions.fastPath}. */
  readonly fastPath: boolean;
  /** What it has counted so far. */
  readonly counters: IngestCounters;
  /** False while too few file descriptors are free for further connections. */
  readonly accepting: boolean;
  /** What it reports of itself. */
  readonly report: () => Omit<InstanceReport, "rate">;
  /** Why the health service reports NOT_SERVING; undefined: it reports SERVING. */
  readonly notReady: () => string | undefined;
  /**
   * Ends the role without losing anything: stops accepting and reading, stores what was read, acknowledges it to every
   * device, and closes; after `drainTimeoutMs` at the latest. True: in time.
   */
  drain(): Promise<boolean>;
  /** Rejects when the role fails; resolves after {@linkcode drain} was called. */
  readonly finished: Promise<void>;
}

/** Devices kept in the table of interned ids: see {@linkcode DeviceTable} for the memory they take. */
const MAX_INTERNED_DEVICES = 2 ** 21;

/**
 * Devices with which a batch is due. One of 2,000 blocks Redis, and every other client of it, for some 15 ms (6 to 9 µs
 * a device, measured); larger batches cost hardly less per device, smaller ones a little more.
 */
const DUE_BATCH_DEVICES = 2000;

/**
 * Devices up to which a batch grows while the store is busy with the one before, unless one message brings more. A
 * longer wait coalesces more packets per device: 10,000 devices that send all they can were accepted six times as fast.
 * Larger fleets pay for it, only when they send more than Redis can store: it is blocked for some 120 ms at a time then.
 */
const MAX_BATCH_DEVICES = 16_000;

/** How often the store is pinged. */
const STORE_CHECK_MS = 1000;

/** Starts the role; rejects when it cannot listen on the address. */
export async function startIngest(options: IngestOptions): Promise<RunningIngest> {
  const { store, log, now, authenticator, fastPath = true } = options;
  const ingest = createState(options);
  const { queue, counters } = ingest;
  const aborted = new AbortController();
  const producer = crypto.randomUUID();
  const { signal } = aborted, { onFlushed, packetStream = 0 } = options;
  const writer = new Writer({
    ...{ queue, store, counters, producer, now, log, signal },
    onFlushed,
    deviceLimits: deviceLimitsOf(options),
    packetStream: packetStream > 0 ? { maxEntries: packetStream } : undefined,
  });
  const callers = new CallerCheck({ authenticator, counters, log, maxLookups: options.maxStreams });
  const server = await TelemetryServer.start(ingest, { ...options, fastPath, callers });
  const finished = writer.run();
  const notReady = () => {
    const { failingSinceMs } = writer;
    if (ingest.draining) return "shutting down";
    if (!server.accepting) return "too few file descriptors are left for the device port";
    if (failingSinceMs === undefined || performance.now() - failingSinceMs < options.storeGraceMs) return;
    return "the store fails";
  };
  const stopWatching = watchStore(store, writer, () => server.setServing(notReady() === undefined));
  const stopVerifying = authenticator &&
    watchIdentities(ingest, authenticator, (error) => callers.ended(error));
  const monitor = new ProcessMonitor(systemClock);
  const startedMs = now();
  const report = () => ({
    instance: producer,
    startedMs,
    ...monitor.figures,
    ...reportOf(ingest, server, options),
  });
  const stopReporting = startReporting({ store, log, report });

  async function drain(): Promise<boolean> {
    const abort = () => abortWriter(writer, aborted, ingest.streams.size);
    const inTime = await drainServer(ingest, server, finished, abort, options.drainTimeoutMs);
    monitor.close();
    ingest.reverts.close();
    callers.close();
    await Promise.all([stopWatching(), stopVerifying?.(), stopReporting()]);
    return inTime;
  }

  return {
    host: options.host,
    port: server.port,
    fastPath,
    counters,
    report,
    notReady,
    get accepting() {
      return server.accepting;
    },
    drain,
    finished,
  };
}

function deviceLimitsOf(options: IngestOptions): DeviceLimits | undefined {
  const { maxDevices = 0, newDevicesPerMinute = 0 } = options;
  if (maxDevices === 0 && newDevicesPerMinute === 0) return undefined;
  const orNone = (limit: number) => limit === 0 ? Number.MAX_SAFE_INTEGER : limit;
  return { maxDevices: orNone(maxDevices), maxNewPerMinute: orNone(newDevicesPerMinute) };
}

function createState(options: IngestOptions): IngestState {
  const counters = createCounters(), devices = new DeviceTable({ maxDevices: MAX_INTERNED_DEVICES });
  const bounds = {
    maxPackets: options.queueMaxPackets,
    maxBytes: options.queueMaxBytes,
    maxDevices: MAX_BATCH_DEVICES,
    dueDevices: DUE_BATCH_DEVICES,
    flushIntervalMs: options.flushIntervalMs,
    keepsPackets: (options.packetStream ?? 0) > 0,
  };
  return {
    queue: new PacketQueue(bounds, devices),
    store: options.store,
    counters,
    reverts: new Reverts(counters, options.log),
    now: oncePerTurn(options.now),
    devices,
    streams: new Set(),
    silentStreams: new Set(),
    accounts: new Accounts(options, () => performance.now()),
    sessions: new Map(),
    limits: options,
    draining: false,
  };
}

/**
 * Ends all streams, then the writer and the server. At the deadline what is left is aborted, with `abort` the writer's
 * batch too, and the result is false.
 */
async function drainServer(
  ingest: IngestState,
  server: TelemetryServer,
  writerFinished: Promise<void>,
  abort: () => void,
  timeoutMs: number,
): Promise<boolean> {
  ingest.draining = true;
  let inTime = true;
  const error = shuttingDown();
  const deadline = setTimeout(() => {
    inTime = false;
    abort();
    for (const stream of [...ingest.streams]) stream.abort(error);
    server.destroy();
  }, timeoutMs);
  server.setServing(false);
  const callsEnded = server.endCalls();
  for (const stream of [...ingest.streams]) stream.fail(error);
  ingest.queue.close();
  await writerFinished;
  await callsEnded;
  await server.closeConnections();
  clearTimeout(deadline);
  return inTime;
}

/** `streams`: how many have no Ack of what the writer drops. */
function abortWriter(
  { lastError, options: { log } }: Writer,
  aborted: AbortController,
  streams: number,
): void {
  const storeError = lastError === undefined ? "none" : messageOf(lastError);
  log.error("packets that are not stored are dropped: the time to drain is over", { streams, storeError });
  aborted.abort();
}

/** The process's report. */
function reportOf(
  { queue, counters, draining }: IngestState,
  server: TelemetryServer,
  options: IngestOptions,
): Omit<InstanceReport, "rate" | "instance" | "startedMs" | keyof ProcessFigures> {
  const { host, fastPath = true, logLinesDropped = () => 0, clockAheadMs = () => 0 } = options;
  return {
    ...countedReport(counters),
    host: options.hostName,
    pid: options.pid,
    worker: options.worker,
    ingestAddress: formatAddress(host, server.port),
    fastPath,
    version: VERSION,
    reportedMs: options.now(),
    connections: server.connections,
    maxConnections: options.maxConnections,
    ...tlsMetrics(options.tls?.files),
    accepting: server.accepting && !draining,
    queuePackets: queue.packets,
    queueMaxPackets: options.queueMaxPackets,
    ...deferredAmount(options.store),
    queueBytes: queue.bytes,
    queueMaxBytes: options.queueMaxBytes,
    streamsWaiting: queue.waiting,
    logLinesDropped: logLinesDropped(),
    clockAheadMs: clockAheadMs(),
  };
}

/** A clock that is read once per turn of the event loop: reading it is a quarter of what a packet costs. */
function oncePerTurn(now: () => number): () => number {
  let nowMs: number | undefined;
  return () => {
    if (nowMs === undefined) {
      nowMs = now();
      queueMicrotask(() => nowMs = undefined);
    }
    return nowMs;
  };
}

/** Pings the store every second and calls `checked`; returns the function that stops it. */
function watchStore(store: Store, writer: Writer, checked: () => void): () => Promise<void> {
  let checking = check();
  const timer = setInterval(() => checking = checking.then(check), STORE_CHECK_MS);
  async function check(): Promise<void> {
    try {
      await store.ping();
      writer.storeAnswered();
    } catch (error) {
      writer.storeFailed(error);
    }
    checked();
  }
  return async () => {
    clearInterval(timer);
    await checking;
  };
}

function deferredAmount(store: Store): Pick<InstanceReport, "deferredPackets" | "deferredBytes"> {
  const { packets, bytes } = store.deferred?.() ?? { packets: 0, bytes: 0 };
  return { deferredPackets: packets, deferredBytes: bytes };
}
