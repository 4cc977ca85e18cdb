/**
 * The composition root: opens the store, starts the roles on it, and stops all in the order of the data.
 *
 * A role's code is imported where it runs: the api needs neither grpc-js nor protobufjs, which take 12 MB, ingest
 * not zod, and hono only with an ops port.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import {
  type Config,
  configuredWebhook,
  configuredWorkers,
  isDevicePortOpen,
  isReaderPortOpen,
} from "./config/config.ts";
import { startIngestWorkers } from "./ingest_workers.ts";
import { apiMetrics } from "./metrics/api_metrics.ts";
import { ingestMetrics } from "./metrics/ingest_metrics.ts";
import { openStore } from "./open_store.ts";
import { exportFlush, exportTable } from "./ops/open_telemetry.ts";
import { type ObservedIngest, OpsPort } from "./ops_port.ts";
import { systemClock } from "./runtime/clock.ts";
import { countDescriptors, type DescriptorReserve, descriptorReserves } from "./runtime/descriptors.ts";
import { withTimeout } from "./runtime/timeout.ts";
import { readMaterial, TlsFiles, type TlsPaths } from "./tls/tls_files.ts";
import { deviceTlsPaths, readerTlsPaths } from "./config/tls_settings.ts";
import type { Store } from "./store/store.ts";
import { StoreClock } from "./store/store_clock.ts";

/** What one process of Tally starts with. */
export interface TallyOptions {
  /** The settings. */
  readonly config: Config;
  /** The process's arguments, for processes that it starts, and for commands in errors. */
  readonly args: readonly string[];
  /** What the process runs, for commands in errors; default `src/main.ts`. */
  readonly program?: string;
  /** Gets a child logger for each part. */
  readonly log: Logger;
  /** Format of the log, for processes that it starts. */
  readonly logFormat: "json" | "text";
  /** Log lines dropped so far because their reader was too slow. */
  readonly logLinesDropped: () => number;
}

/** The bound address of a role; the port is never 0. */
export interface BoundAddress {
  /** Address bound. */
  readonly host: string;
  /** TCP port bound. */
  readonly port: number;
}

/** The running roles of one process. */
export interface RunningTally {
  /** Address for devices; undefined without the ingest role. */
  readonly ingest: BoundAddress | undefined;
  /** Address for readers; undefined without the api role. */
  readonly api: BoundAddress | undefined;
  /** Rejects if a role cannot continue. */
  readonly finished: Promise<void>;
  /**
   * Stops in the order of the data, so that every packet read is stored: ingest drains, then the api closes,
   * then the store. Rejects if that takes longer than `drainTimeoutMs`.
   */
  stop(): Promise<void>;
}

/** Opens the store and starts the roles that the settings name; on failure, stops what it started. */
export async function startTally(options: TallyOptions): Promise<RunningTally> {
  const { config, args, program, log } = options;
  // Parts stop in reverse: last in, first out.
  await using parts = new AsyncDisposableStack();

  // Before files are opened: for a moment it may take every descriptor there is.
  const reserves = descriptorReserves(), times = stopTimes(config);
  if (config.role !== "api") reportUnreachable(config, log);
  // First, and closed last: it shows that the process starts, and drains.
  const ops = await OpsPort.start(config, reserves.readers, log);
  if (ops !== undefined) parts.defer(() => ops.close(times.readersMs));
  const opened = await openStore(config, args, log, program);
  parts.defer(() => opened.close());
  const store = ops?.measured(opened) ?? opened;
  const clock = new StoreClock({ store, clock: systemClock, log: log.getChild("clock") });
  await clock.measure();
  parts.defer(clock.start());

  const context = { ...options, store, clock, reserves, openTls: tlsOpener(parts, log), times };
  let ingest: Ingest | undefined;
  let api: Awaited<ReturnType<typeof startApiRole>> | undefined;
  if (config.role !== "ingest") {
    const running = api = await startApiRole(context, () => ingest?.accepting ?? true);
    parts.defer(() => running.close(times.readersMs));
    ops?.addApi(running);
    exportTable("tally_api_", apiMetrics, {}, running.report);
  }
  if (config.role !== "api") {
    const running = ingest = await startIngestRole(context);
    parts.defer(() => drain(running, config));
    const { report, notReady } = running;
    if (report === undefined || notReady === undefined) ops?.addSupervisor(store);
    else {
      ops?.addIngest({ report, notReady });
      // Workers share the attributes of the environment.
      exportTable(
        "tally_ingest_",
        ingestMetrics,
        { worker: config.worker },
        () => ({ ...report(), rate: 0 }),
      );
    }
  }
  ops?.started();

  const started = parts.move();
  return {
    ingest,
    api,
    finished: ingest?.finished ?? new Promise(() => {}),
    stop: () =>
      withTimeout(config.drainTimeoutMs, started.disposeAsync(), () => {
        throw new Error(tooLate(config));
      }),
  };
}

/** A limit that the process has not the file descriptors for: those that are left close connections before it does. */
function reportUnreachable({ maxConnections }: Config, log: Logger): void {
  if (maxConnections === "auto") return;
  const descriptors = countDescriptors(maxConnections);
  if (descriptors >= maxConnections) return;
  log.warn("TALLY_MAX_CONNECTIONS cannot be reached: raise the limit of open files (ulimit -n)", {
    maxConnections,
    descriptors,
  });
}

/** Returns what opens the files of a port. They are watched until `parts` stop. */
function tlsOpener(parts: AsyncDisposableStack, log: Logger): Context["openTls"] {
  return async (paths) => {
    if (paths === undefined) return undefined;
    const files = await TlsFiles.open(paths, { log: log.getChild("tls"), now: Date.now });
    parts.defer(() => files.close());
    return files;
  };
}

/** What the roles share. */
interface Context extends TallyOptions {
  readonly store: Store;
  readonly clock: StoreClock;
  readonly reserves: { readonly devices: DescriptorReserve; readonly readers: DescriptorReserve };
  /** Opens the files of a port; they are closed after the roles. */
  readonly openTls: (paths: TlsPaths | undefined) => Promise<TlsFiles | undefined>;
  readonly times: { readonly devicesMs: number; readonly readersMs: number };
}

/** The running ingest role, in this process or in several, which have ops ports of their own. */
interface Ingest extends BoundAddress, Partial<ObservedIngest> {
  /** Whether new connections are accepted; undefined: other processes accept them. */
  readonly accepting?: boolean;
  readonly finished: Promise<void>;
  drain(): Promise<boolean>;
}

/** Most of the time to stop is for the devices; the rest is for readers and the store. */
function stopTimes({ drainTimeoutMs }: Config) {
  const readersMs = drainTimeoutMs / 10;
  return { devicesMs: drainTimeoutMs - 2 * readersMs, readersMs };
}

/** Starts the api role; `acceptsDevices`: whether the other role, if it runs, accepts connections. */
async function startApiRole(context: Context, acceptsDevices: () => boolean) {
  const { config, log, store, clock, reserves, logLinesDropped } = context;
  const tls = await context.openTls(readerTlsPaths(config));
  const { startApi } = await import("./api/api.ts");
  const api = await startApi({
    ...config,
    ...readerBounds(config),
    host: config.httpHost,
    port: config.httpPort,
    anonymousAccess: isReaderPortOpen(config),
    reserve: reserves.readers,
    tls,
    notReady: () => acceptsDevices() ? undefined : "too few file descriptors are left for the device port",
    logLinesDropped,
    webhook: configuredWebhook(config),
    store,
    clock,
    storeHealth: () => clock.health,
    ingestRequired: true,
    log: log.getChild("api"),
  });
  log.info("api listening", { host: api.host, port: api.port, tls: tls !== undefined, auth: config.apiAuth });
  if (isReaderPortOpen(config)) {
    log.warn("anonymous access: clients of any machine that reaches the reader port may read and remove", {
      host: api.host,
      toChange: "set TALLY_API_AUTH=token",
    });
  }
  return api;
}

/** Bounds of readers' connections; `auto` leaves room beside the streams, and to others than one address. */
function readerBounds({ httpMaxConnections, httpMaxConnectionsPerAddress, liveMaxClients }: Config) {
  const maxConnections = httpMaxConnections === "auto" ? liveMaxClients + 1000 : httpMaxConnections;
  const maxConnectionsPerAddress = httpMaxConnectionsPerAddress === "auto"
    ? Math.ceil(maxConnections * 3 / 4)
    : httpMaxConnectionsPerAddress;
  return { maxConnections, maxConnectionsPerAddress };
}

/** Starts the ingest role: in this process, or in workers. */
async function startIngestRole(context: Context): Promise<Ingest> {
  const { config, log, store, clock, reserves, times, logLinesDropped } = context;
  if (config.worker === 0 && isDevicePortOpen(config)) {
    log.warn(
      "anonymous access: clients of any machine that reaches the device port may send for any device",
      {
        host: config.grpcHost,
      },
    );
  }
  const tlsPaths = deviceTlsPaths(config);
  if (configuredWorkers(config) > 1) {
    // The workers read them by themselves; what is wrong is reported once, here.
    if (tlsPaths !== undefined) await readMaterial(tlsPaths, Date.now());
    return startIngestWorkers({ ...context, stopTimeoutMs: times.devicesMs });
  }
  const files = await context.openTls(tlsPaths);
  const { openDeviceAuthenticator } = await import("./device_auth.ts");
  const { startIngest } = await import("./ingest/ingest.ts");
  const now = () => clock.unixMs();
  const authenticator = await openDeviceAuthenticator({ config, store, now, log: log.getChild("ingest") });
  const ingest = await startIngest({
    ...config,
    host: config.grpcHost,
    port: config.grpcPort,
    hostName: Deno.hostname(),
    pid: Deno.pid,
    reusePort: config.worker > 0,
    maxConnections: config.maxConnections === "auto" ? 2 * config.maxStreams : config.maxConnections,
    reserve: reserves.devices,
    tls: files && { files, now: Date.now },
    logLinesDropped,
    drainTimeoutMs: times.devicesMs,
    onFlushed: exportFlush,
    store,
    log: log.getChild("ingest"),
    now,
    ...authenticator && { authenticator },
    clockAheadMs: () => clock.health.clockAheadMs,
  });
  const { host, port, fastPath } = ingest;
  const auth = [...config.deviceAuth].join(",") || "none", tls = files !== undefined;
  log.info("ingest listening", { host, port, fastPath, tls, auth, pid: Deno.pid });
  return ingest;
}

async function drain(ingest: Ingest, config: Config): Promise<void> {
  if (!await ingest.drain()) throw new Error(tooLate(config));
}

function tooLate({ drainTimeoutMs }: Config): string {
  return `could not stop within ${drainTimeoutMs} ms: packets not stored by then were not acknowledged, ` +
    "and devices send them again; TALLY_DRAIN_TIMEOUT allows more time";
}
