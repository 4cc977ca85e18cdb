/**
 * The program: read the settings, start the role, wait for a signal, drain, exit.
 *
 * Exit codes: 0 after an orderly stop, 1 when starting or stopping failed, 2 for wrong settings,
 * 129, 130 or 143 when a second SIGHUP, SIGINT or SIGTERM cut the stop short.
 *
 * @module
 */
import { dirname, relative, resolve } from "node:path";

import type { Logger } from "@logtape/logtape";

import { startApi } from "./api/api.ts";
import { StoreClock } from "./store/store_clock.ts";
import {
  type Config,
  ConfigError,
  configuredRedis,
  configuredWebhook,
  helpText,
  parseConfig,
  settings,
} from "./config.ts";
import { type DescriptorReserve, descriptorReserves } from "./runtime/descriptors.ts";
import { LineWriter } from "./runtime/line_writer.ts";
import { startLogging } from "./runtime/log.ts";
import { openRedisStore } from "./store/redis/redis_store.ts";
import { openSqliteThreads } from "./store/sqlite/threads.ts";
import type { Store } from "./store/store.ts";
import { stopSignal } from "./runtime/stop_signal.ts";
import { startHeartbeat, startWorkers } from "./workers.ts";

/** Where a role listens: what was bound, so the port is never 0. */
export interface Listener {
  /** Address bound. */
  readonly host: string;
  /** TCP port bound. */
  readonly port: number;
}

/** The roles of one process at work. */
export interface RunningTally {
  /** Where devices are served; undefined without the ingest role. */
  readonly ingest: Listener | undefined;
  /** Where readers are served; undefined without the api role. */
  readonly api: Listener | undefined;
  /** Rejects if a role cannot go on. */
  readonly finished: Promise<void>;
  /**
   * Stops in the order of the data, so that what was taken in is stored: ingest drains, then the api
   * closes, then the store. Rejects if that cannot be done within `drainTimeoutMs`.
   */
  stop(): Promise<void>;
}

/** How long the end of the process waits for its last log lines to be read. */
const LAST_LINES_MS = 500;

async function main(): Promise<number> {
  const config = readConfig(Deno.args);
  if (typeof config === "number") return config;
  const lines = new LineWriter(Deno.stdout, {
    onDropped: (dropped) => root.warn("log lines dropped: their reader was too slow", { dropped }),
  });
  const root = startLogging({
    level: config.logLevel,
    format: logFormat(config),
    write: (line) => lines.write(line),
  });
  const log = config.worker > 0 ? root.with({ worker: config.worker }) : root;
  logCrashes(log, lines);
  if (config.worker > 0) startHeartbeat(Deno.stderr);
  const stop = config.worker > 0 ? Promise.race([stopSignal(), inputEnd()]) : stopSignal();
  try {
    const tally = await startTally(config, log, () => lines.dropped);
    const reason = await Promise.race([stop, tally.finished]);
    log.info("stopping", { reason, drainTimeoutMs: config.drainTimeoutMs });
    await tally.stop();
    log.info("stopped");
    return 0;
  } catch (error) {
    log.error("failed", { reason: error instanceof Error ? error.message : String(error) });
    log.debug("failed", { error });
    return 1;
  } finally {
    await lines.flush(LAST_LINES_MS);
  }
}

/** The settings; or the exit code, when there is nothing to run because of `--help` or a wrong value. */
export function readConfig(
  args: readonly string[],
  env: (name: string) => string | undefined = (name) => Deno.env.get(name),
): Config | number {
  if (args.includes("--help") || args.includes("-h")) {
    console.log(helpText());
    return 0;
  }
  try {
    return parseConfig(args, env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    console.error(
      `Cannot start: wrong settings (--help lists them all).\n\n  ${error.problems.join("\n  ")}`,
    );
    return 2;
  }
}

/** Opens the store and starts the roles that `config` asks for; on failure, stops what it started. */
export async function startTally(
  config: Config,
  log: Logger,
  logLinesDropped: () => number = () => 0,
): Promise<RunningTally> {
  // Most of the time to stop is the devices'; the rest is for readers and the store.
  const readersGraceMs = config.drainTimeoutMs / 10;
  // Parts stop in reverse: last in, first out.
  await using parts = new AsyncDisposableStack();

  // Before files are opened: for a moment it may take every descriptor there is.
  const reserves = descriptorReserves();
  const store = await openStore(config, log);
  parts.defer(() => store.close());

  let devicePort: { readonly accepting: boolean } | undefined;
  const clock = new StoreClock({
    store,
    unixNow: Date.now,
    monotonicNow: () => performance.now(),
    log: log.getChild("clock"),
  });
  await clock.measure();
  parts.defer(clock.start());

  const api = config.role === "ingest" ? undefined : await startApi({
    ...config,
    host: config.httpHost,
    port: config.httpPort,
    ...httpLimits(config),
    reserve: reserves.readers,
    notReady: () =>
      devicePort?.accepting === false ? "too few file descriptors are left for the device port" : undefined,
    logLinesDropped,
    webhook: configuredWebhook(config),
    store,
    unixNow: clock.now,
    storeHealth: () => clock.health,
    ingestRequired: true,
    log: log.getChild("api"),
  });
  if (api !== undefined) {
    parts.defer(() => api.close(readersGraceMs));
    log.info("api listening", { host: api.host, port: api.port });
  }

  const drainTimeoutMs = config.drainTimeoutMs - 2 * readersGraceMs;
  const ingest = config.role === "api"
    ? undefined
    : workerCount(config) > 1
    ? startIngestWorkers(config, drainTimeoutMs, log)
    : devicePort = await startIngestHere({
      config,
      reserve: reserves.devices,
      drainTimeoutMs,
      store,
      clock,
      log,
      logLinesDropped,
    });
  if (ingest !== undefined) {
    parts.defer(async () => {
      if (!await ingest.drain()) throw new Error(tooLate(config));
    });
  }

  const started = parts.move();
  return {
    ingest,
    api,
    finished: ingest?.finished ?? new Promise(() => {}),
    stop: () => within(config.drainTimeoutMs, started.disposeAsync(), tooLate(config)),
  };
}

/** Bounds of readers' connections; `auto` leaves room beside the streams, and to others than one address. */
function httpLimits({ httpMaxConnections, httpMaxConnectionsPerAddress, liveMaxClients }: Config) {
  const maxConnections = httpMaxConnections === "auto" ? liveMaxClients + 1000 : httpMaxConnections;
  const maxConnectionsPerAddress = httpMaxConnectionsPerAddress === "auto"
    ? Math.ceil(maxConnections * 3 / 4)
    : httpMaxConnectionsPerAddress;
  return { maxConnections, maxConnectionsPerAddress };
}

/** A running ingest role, in this process or in several. */
interface Ingest extends Listener {
  readonly finished: Promise<void>;
  drain(): Promise<boolean>;
}

/** What {@linkcode startIngestHere} needs. */
interface IngestHere {
  readonly config: Config;
  readonly reserve: DescriptorReserve;
  readonly drainTimeoutMs: number;
  readonly store: Store;
  readonly clock: StoreClock;
  readonly log: Logger;
  readonly logLinesDropped: () => number;
}

async function startIngestHere(
  { config, reserve, drainTimeoutMs, store, clock, log, logLinesDropped }: IngestHere,
): Promise<Ingest & { readonly accepting: boolean }> {
  // A dynamic import, because the api role runs without grpc-js and protobufjs: they take 6 to 10 MB.
  const { startIngest } = await import("./ingest/ingest.ts");
  const ingest = await startIngest({
    ...config,
    host: config.grpcHost,
    port: config.grpcPort,
    hostName: Deno.hostname(),
    pid: Deno.pid,
    reusePort: config.worker > 0,
    maxConnections: config.maxConnections === "auto" ? 2 * config.maxStreams : config.maxConnections,
    reserve,
    logLinesDropped,
    drainTimeoutMs,
    store,
    log: log.getChild("ingest"),
    now: clock.now,
    clockAheadMs: () => clock.health.clockAheadMs,
  });
  const { host, port, fastPath } = ingest;
  log.info("ingest listening", { host, port, fastPath, pid: Deno.pid });
  return ingest;
}

function startIngestWorkers(config: Config, drainTimeoutMs: number, log: Logger): Ingest {
  const { grpcHost: host, grpcPort } = config;
  if (Deno.permissions.querySync({ name: "run", command: "deno" }).state !== "granted") {
    throw new Error(
      `cannot start ${workerCount(config)} ingest workers: this task may not start processes; use ` +
        `"deno task workers" (and "deno task api" for readers), or set INGEST_WORKERS to 1`,
    );
  }
  const port = grpcPort === 0 ? freePort(host) : grpcPort;
  const count = workerCount(config);
  const overrides = {
    "--role": "ingest",
    "--ingest-workers": "1",
    "--grpc-port": String(port),
    "--drain-timeout": `${drainTimeoutMs}ms`,
    "--log-format": logFormat(config),
  };
  const workers = startWorkers({
    count,
    command: (index) =>
      // By its name: a version manager or npm may have put a starter of Deno's in its place.
      new Deno.Command("deno", {
        args: ["run", "--quiet", "-P=ingest", ...fileFlags(config), import.meta.filename!, ...Deno.args]
          .concat(...Object.entries(overrides), "--worker", String(index)),
        stdin: "piped",
        stderr: "piped",
      }),
    stopTimeoutMs: drainTimeoutMs + 1000,
    log: log.getChild("workers"),
    writeError: (bytes) => void Deno.stderr.write(bytes).catch(() => {}), // whoever read it is gone
  });
  log.info("ingest workers started", { host, port, workers: count });
  return { host, port, ...workers };
}

function workerCount({ workers }: Config): number {
  return workers === "auto" ? navigator.hardwareConcurrency : workers;
}

/** A port that is free now, for all workers to share. */
function freePort(hostname: string): number {
  using listener = Deno.listen({ hostname, port: 0 });
  return listener.addr.port;
}

function tooLate({ drainTimeoutMs }: Config): string {
  return `could not stop within ${drainTimeoutMs} ms: packets not stored by then were not acknowledged, ` +
    "and devices send them again; DRAIN_TIMEOUT allows more time";
}

async function openStore(config: Config, log: Logger): Promise<Store> {
  const { ackAfter, databasePath, storeTimeoutMs } = config;
  const redis = configuredRedis(config);
  assertFilesAllowed(config);
  const store = redis === undefined
    ? await openSqliteThreads({
      path: databasePath,
      ackAfter,
      lockTimeoutMs: storeTimeoutMs,
      log: log.getChild("store"),
    })
    : await openRedisStore({
      url: redis,
      tlsCa: config.redisTlsCa === undefined ? undefined : await readTlsCa(config.redisTlsCa),
      ackAfter,
      commandTimeoutMs: storeTimeoutMs,
      log: log.getChild("store"),
    });
  const toChange = redis === undefined
    ? "set REDIS_URL or REDIS_HOST for Redis, TALLY_DB for another file"
    : "unset REDIS_URL and REDIS_HOST for a SQLite file";
  log.info("store open", { store: store.description, toChange });
  return store;
}

async function readTlsCa(path: string): Promise<string> {
  try {
    const pem = await Deno.readTextFile(path);
    if (pem.includes("-----BEGIN CERTIFICATE-----")) return pem;
  } catch (cause) {
    throw new Error(`Cannot read REDIS_TLS_CA: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
  throw new Error(`Cannot use REDIS_TLS_CA: found no certificate in ${path}; expected a PEM file`);
}

/**
 * Throws when the permissions of the task do not reach to the files of the settings, with the command that widens
 * them; on a terminal Deno would ask for each of them.
 */
function assertFilesAllowed(config: Config): void {
  const { redisTlsCa } = config;
  const allowed = (name: "read" | "write", path: string) =>
    Deno.permissions.querySync({ name, path }).state === "granted";
  const folder = usesSqlite(config) ? dirname(resolve(config.databasePath)) : undefined;
  const folderAllowed = folder === undefined || (allowed("read", folder) && allowed("write", folder));
  if (folderAllowed && (redisTlsCa === undefined || allowed("read", redisTlsCa))) return;
  const permissions = config.role === "api" ? "api" : workerCount(config) > 1 ? "workers" : "ingest";
  throw new Error(
    `Cannot use ${folderAllowed ? redisTlsCa : `SQLite file ${resolve(config.databasePath)}`}: ` +
      `found that the task may use the folder data only; start Tally with this allowed: ` +
      ["deno", "run", `-P=${permissions}`, ...fileFlags(config), "src/main.ts", ...withoutSecrets(Deno.args)]
        .map(shellWord).join(" "),
  );
}

/** Arguments as they may be shown: a password is to be put in again. */
function withoutSecrets(args: readonly string[]): string[] {
  const secret = Object.values(settings).filter(({ secret }) => secret).map(({ flag }) => `--${flag}`);
  return args.map((arg, i) => {
    if (secret.includes(args[i - 1] ?? "")) return "...";
    const [flag = ""] = arg.split("=", 1);
    return secret.includes(flag) && flag !== arg ? `${flag}=...` : arg;
  });
}

function usesSqlite(config: Config): boolean {
  return configuredRedis(config) === undefined;
}

/** Flags that let Tally use the files of the settings besides its own folders: they replace those of the permission set. */
function fileFlags(config: Config): string[] {
  const folder = usesSqlite(config) ? [dirname(resolve(config.databasePath))] : [];
  const files = config.redisTlsCa === undefined ? [] : [resolve(config.redisTlsCa)];
  const isOutside = (path: string) => relative("data", path).startsWith("..");
  if (![...folder, ...files].some(isOutside)) return [];
  const list = (...paths: string[]) => paths.map((path) => path.replaceAll(",", ",,")).join(",");
  return [
    `--allow-read=${list("data", "src/store", ...folder, ...files)}`,
    `--allow-write=${list("data", ...folder)}`,
  ];
}

function shellWord(text: string): string {
  return /^[\w.,/:=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** How log lines are written: as configured, or as the terminal, or lack of one, suggests. */
export function logFormat({ logFormat }: Config): "json" | "text" {
  if (logFormat !== "auto") return logFormat;
  return Deno.stdout.isTerminal() ? "text" : "json";
}

/** An uncaught error still gets its log line; then the process ends, at the latest when that took too long. */
function logCrashes(log: Logger, lines: LineWriter): void {
  const crash = (event: Event, error: unknown) => {
    event.preventDefault();
    log.fatal("crashed", { error });
    lines.flush(LAST_LINES_MS).finally(() => Deno.exit(1));
  };
  globalThis.addEventListener("error", (event) => crash(event, event.error));
  globalThis.addEventListener("unhandledrejection", (event) => crash(event, event.reason));
}

/** Resolves when the process that started this worker lets it go, or has died. */
async function inputEnd(): Promise<string> {
  for await (const _ of Deno.stdin.readable) {
    // Nothing is ever said here.
  }
  return "end of input";
}

async function within(timeoutMs: number, work: Promise<void>, tooLate: string): Promise<void> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(tooLate)), timeoutMs);
  try {
    await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

if (import.meta.main) Deno.exit(await main());
