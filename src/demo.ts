/**
 * `deno task demo`: both roles and 50 simulated devices in one process. Flags and environment are those
 * of `deno task start`, but that the counts are kept in a file of their own: else its devices would be offline
 * to `start` from then on.
 *
 * Exit codes: as those of `main.ts`.
 *
 * @module
 */
import { startLogging } from "./runtime/log.ts";
import { type Config, configuredRedis } from "./config.ts";
import { type Listener, logFormat, readConfig, startTally } from "./main.ts";
import { stopSignal } from "./runtime/stop_signal.ts";
import { Fleet, totalsText } from "./tools/simulator.ts";

const DEVICES = 50;

/** The default of `TALLY_DB` here. */
const DATABASE_PATH = "data/demo.db";

const usage =
  `deno task demo [flags]: deno task start with ${DEVICES} simulated devices. It keeps its counts in
${DATABASE_PATH} unless TALLY_DB, REDIS_URL or REDIS_HOST is set; all else is as below.
`;

/** How long the devices may wait at the end for what is not acknowledged yet. */
const FLEET_STOP_TIMEOUT_MS = 5_000;

async function demo(args: readonly string[]): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) console.log(usage);
  const config = readConfig(
    args,
    (name) => Deno.env.get(name) || (name === "TALLY_DB" ? DATABASE_PATH : undefined),
  );
  if (typeof config === "number") return config;
  const log = startLogging({
    level: config.logLevel,
    format: logFormat(config),
    write: (line) => console.log(line.trimEnd()),
  });
  const signal = stopSignal();
  try {
    const tally = await startTally({ ...config, role: "all" }, log);
    const fleet = await Fleet.start({
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
    await Promise.race([signal, tally.finished, fleet.finished]);
    const totals = await fleet.stop(FLEET_STOP_TIMEOUT_MS);
    await tally.stop();
    console.log(`${DEVICES} devices: ${totalsText(totals)}`);
    return 0;
  } catch (error) {
    log.error("failed", { reason: error instanceof Error ? error.message : String(error) });
    log.debug("failed", { error });
    return 1;
  }
}

function welcome(ingest: Listener, api: Listener, config: Config): string {
  const url = `http://${reachable(api)}`;
  const target = reachable(ingest);
  const isOwnFile = configuredRedis(config) === undefined && config.databasePath === DATABASE_PATH;
  return `
  Tally is running, and ${DEVICES} simulated devices send to it. Ctrl-C stops both.

  Open
    ${url}/    the fleet, live

  Try, in another terminal
    curl ${url}/metrics
    curl -H 'Accept: text/plain' ${url}/metrics    the same, as Prometheus reads it
    deno task send --target ${target}    10 packets from sensor-1
    deno task simulate --target ${target} --devices 1000

  The counts are kept${
    isOwnFile ? ` in ${DATABASE_PATH}, apart from those of deno task start` : ""
  }: start the demo again, and they go on.
`;
}

/** Where a program on this machine finds what listens on all addresses. */
function reachable({ host, port }: Listener): string {
  const name = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
  return `${name.includes(":") ? `[${name}]` : name}:${port}`;
}

if (import.meta.main) Deno.exit(await demo(Deno.args));
