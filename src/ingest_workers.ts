/**
 * The ingest role in several processes: what each of them is started with.
 *
 * @module
 */
import { fileURLToPath } from "node:url";

import type { Logger } from "@logtape/logtape";

import { type Config, configuredWorkers } from "./config/config.ts";
import { fileFlags } from "./file_permissions.ts";
import { type RunningWorkers, startWorkers } from "./workers.ts";

/** What the workers of a process are started with. */
export interface IngestWorkersOptions {
  /** The settings; the workers differ in the port, in times and in their number. */
  readonly config: Config;
  /** The process's arguments, which are passed on. */
  readonly args: readonly string[];
  /** Logs workers that end or hang. */
  readonly log: Logger;
  /** Format of the workers' log lines, which go where this process's do. */
  readonly logFormat: "json" | "text";
  /** Time in which each of them must drain. */
  readonly stopTimeoutMs: number;
}

/** How long a worker may take for its end besides draining, before it is killed. */
const STOP_MARGIN_MS = 1000;

const mainFile = fileURLToPath(new URL("./main.ts", import.meta.url));

/** Starts them, all on one port. */
export function startIngestWorkers(
  options: IngestWorkersOptions,
): RunningWorkers & { readonly host: string; readonly port: number } {
  const { config, log, stopTimeoutMs } = options;
  const count = configuredWorkers(config);
  if (Deno.permissions.querySync({ name: "run", command: "deno" }).state !== "granted") {
    throw new Error(
      `cannot start ${count} ingest workers: this task may not start processes; use "deno task workers" ` +
        `(and "deno task api" for readers), or set TALLY_INGEST_WORKERS to 1`,
    );
  }
  const host = config.grpcHost;
  const port = config.grpcPort === 0 ? freePort(host) : config.grpcPort;
  const workers = startWorkers({
    count,
    command: (worker) => workerCommand(worker, port, options),
    stopTimeoutMs: stopTimeoutMs + STOP_MARGIN_MS,
    log: log.getChild("workers"),
    writeError: (bytes) => void Deno.stderr.write(bytes).catch(() => {}), // its reader is gone
  });
  log.info("ingest workers started", { host, port, workers: count });
  return { host, port, ...workers };
}

/** A later flag takes precedence over an earlier one of the same name. */
function workerCommand(worker: number, port: number, options: IngestWorkersOptions): Deno.Command {
  const overrides = {
    "--role": "ingest",
    "--ingest-workers": "1",
    "--grpc-port": String(port),
    "--drain-timeout": `${options.stopTimeoutMs}ms`,
    "--log-format": options.logFormat,
    "--worker": String(worker),
  };
  // By its name: a version manager or npm may have put a starter of Deno's in its place.
  return new Deno.Command("deno", {
    args: ["run", "--quiet", "-P=ingest", ...fileFlags(options.config), mainFile, ...options.args]
      .concat(...Object.entries(overrides)),
    stdin: "piped",
    stderr: "piped",
  });
}

/** A port that is free now, for all workers to share. */
function freePort(hostname: string): number {
  using listener = Deno.listen({ hostname, port: 0 });
  return listener.addr.port;
}
