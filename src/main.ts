/**
 * The program: read the settings, start the roles, wait for a signal, drain, exit.
 *
 * Exit codes: 0 after a graceful stop, 1 when starting or stopping failed, 2 for wrong settings, 129, 130 or
 * 143 when a second SIGHUP, SIGINT or SIGTERM cut the stop short.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import { type ParsedConfig, readConfig, warnOfFormerNames } from "./config/read_config.ts";
import { LineWriter } from "./runtime/line_writer.ts";
import { logFailure, logFormatOf, startLogging } from "./runtime/log.ts";
import { stopSignal } from "./runtime/stop_signal.ts";
import { startTally } from "./tally.ts";
import { startHeartbeat } from "./workers.ts";

/** How long the end of the process waits for its last log lines to be read. */
const LAST_LINES_MS = 500;

if (import.meta.main) Deno.exit(await main());

async function main(): Promise<number> {
  const read = readConfig(Deno.args, (name) => Deno.env.get(name));
  if (typeof read === "number") return read;
  const lines = new LineWriter(Deno.stdout, {
    onDropped: (dropped) => root.warn("log lines dropped: their reader was too slow", { dropped }),
  });
  const logFormat = logFormatOf(read.config.logFormat, Deno.stdout.isTerminal());
  const root = startLogging({
    level: read.config.logLevel,
    format: logFormat,
    write: (line) => lines.write(line),
  });
  logCrashes(root, lines);
  try {
    return await run(read, root, logFormat, lines);
  } finally {
    await lines.flush(LAST_LINES_MS);
  }
}

/** Runs the roles until a signal; returns the exit code. */
async function run(
  { config, renamed }: ParsedConfig,
  root: Logger,
  logFormat: "json" | "text",
  lines: LineWriter,
): Promise<number> {
  const isWorker = config.worker > 0;
  const log = isWorker ? root.with({ worker: config.worker }) : root;
  const stop = isWorker ? Promise.race([stopSignal(), inputEnd()]) : stopSignal();
  if (isWorker) startHeartbeat(Deno.stderr);
  else warnOfFormerNames(renamed, log);
  try {
    const tally = await startTally({
      config,
      args: Deno.args,
      log,
      logFormat,
      logLinesDropped: () => lines.dropped,
    });
    const reason = await Promise.race([stop, tally.finished]);
    log.info("stopping", { reason, drainTimeoutMs: config.drainTimeoutMs });
    await tally.stop();
    log.info("stopped");
    return 0;
  } catch (error) {
    logFailure(log, error);
    return 1;
  }
}

/** Logs an uncaught error and ends the process, at the latest when its last lines took too long. */
function logCrashes(log: Logger, lines: LineWriter): void {
  const crash = (event: Event, error: unknown) => {
    event.preventDefault();
    log.fatal("crashed", { error });
    lines.flush(LAST_LINES_MS).finally(() => Deno.exit(1));
  };
  globalThis.addEventListener("error", (event) => crash(event, event.error));
  globalThis.addEventListener("unhandledrejection", (event) => crash(event, event.reason));
}

/** Resolves at the end of the standard input: the supervisor of this worker ended it, or is gone. */
async function inputEnd(): Promise<string> {
  for await (const _ of Deno.stdin.readable) {
    // The supervisor never writes.
  }
  return "end of input";
}
