/**
 * `deno task demo`: both roles and 50 simulated devices in one process. Flags and environment are those
 * of `deno task start`, except that the counts are kept in a file of their own: in that of `start`, the
 * simulated devices would be offline from then on.
 *
 * Exit codes: as those of `main.ts`.
 *
 * @module
 */
import { type Config, configuredRedis } from "./config/config.ts";
import { type ParsedConfig, readConfig, warnOfFormerNames } from "./config/read_config.ts";
import { formatAddress } from "./runtime/address.ts";
import { logFailure, logFormatOf, startLogging } from "./runtime/log.ts";
import { stopSignal } from "./runtime/stop_signal.ts";
import { type BoundAddress, startTally } from "./tally.ts";
import { Simulator, totalsText } from "./tools/simulator.ts";

const DEVICES = 50;

/** The default of `TALLY_DB` here. */
const DATABASE_PATH = "data/demo.db";

/** How long the devices may wait at the end for packets that are not acknowledged yet. */
const DEVICES_STOP_TIMEOUT_MS = 5_000;

const usage = `deno task demo [flags]: deno task start with ${DEVICES} simulated devices. It keeps its
counts in ${DATABASE_PATH} unless TALLY_DB, REDIS_URL or REDIS_HOST is set; all else
is as below.
`;

if (import.meta.main) Deno.exit(await main());

async function main(): Promise<number> {
  if (Deno.args.includes("--help") || Deno.args.includes("-h")) console.log(usage);
  const read = readConfig(
    Deno.args,
    (name) => Deno.env.get(name) || (name === "TALLY_DB" ? DATABASE_PATH : undefined),
  );
  return typeof read === "number" ? read : await demo(read);
}

/** Runs Tally and the devices until a signal; returns the exit code. */
async function demo({ config, renamed }: ParsedConfig): Promise<number> {
  const logFormat = logFormatOf(config.logFormat, Deno.stdout.isTerminal());
  const log = startLogging({
    level: config.logLevel,
    format: logFormat,
    write: (line) => console.log(line.trimEnd()),
  });
  warnOfFormerNames(renamed, log);
  const signal = stopSignal();
  try {
    const tally = await startTally({
      config: { ...config, role: "all" },
      args: Deno.args,
      program: "src/demo.ts",
      log,
      logFormat,
      logLinesDropped: () => 0,
    });
    const simulator = await Simulator.start({
      target: reachable(tally.ingest!),
      devices: DEVICES,
      ratePerDevice: 1,
      prefix: "demo-",
      now: Date.now,
      random: Math.random,
      onConnection(error) {
        if (error !== undefined) log.warning("devices disconnected", { reason: error.message });
      },
    });
    console.log(welcome(tally.ingest!, tally.api!, config));
    await Promise.race([signal, tally.finished, simulator.finished]);
    const totals = await simulator.stop(DEVICES_STOP_TIMEOUT_MS);
    await tally.stop();
    console.log(`${DEVICES} devices: ${totalsText(totals)}`);
    return 0;
  } catch (error) {
    logFailure(log, error);
    return 1;
  }
}

function welcome(ingest: BoundAddress, api: BoundAddress, config: Config): string {
  const url = `http://${reachable(api)}`;
  const target = reachable(ingest);
  const isOwnFile = configuredRedis(config) === undefined && config.databasePath === DATABASE_PATH;
  return `
  Tally is running, and ${DEVICES} simulated devices send to it. Ctrl-C stops both.

  Open
    ${url}/    the fleet, live

  Try, in another terminal
    curl ${url}/metrics
    curl -H 'Accept: text/plain' ${url}/metrics    the same, for Prometheus
    deno task send --target ${target}    10 packets from sensor-1
    deno task simulate --target ${target} --devices 1000

  The counts are kept${
    isOwnFile ? ` in ${DATABASE_PATH}, apart from those of deno task start` : ""
  }: start the demo again, and they continue.
`;
}

/** Where a program on this machine reaches what listens on all addresses. */
function reachable({ host, port }: BoundAddress): string {
  const name = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
  return formatAddress(name, port);
}
