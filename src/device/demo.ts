/**
 * `deno task demo`: both roles and 50 simulated devices in one process. Flags and environment are those
 * of `deno task start`.
 *
 * Exit codes: as those of `main.ts`.
 *
 * @module
 */
import { startLogging } from "../log.ts";
import { type Listener, logFormat, readConfig, startTally } from "../main.ts";
import { stopSignal } from "../stop_signal.ts";
import { packets } from "./command_line.ts";
import { Fleet } from "./fleet.ts";

const DEVICES = 50;

/** How long the devices may wait at the end for what is not acknowledged yet. */
const FLEET_STOP_TIMEOUT_MS = 5_000;

async function demo(args: readonly string[]): Promise<number> {
  const config = readConfig(args);
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
    console.log(welcome(tally.ingest!, tally.api!));
    await Promise.race([signal, tally.finished, fleet.finished]);
    const { sent, stored, pending } = await fleet.stop(FLEET_STOP_TIMEOUT_MS);
    await tally.stop();
    console.log(`${packets(sent)} sent, ${packets(stored)} stored, ${packets(pending)} not acknowledged`);
    return 0;
  } catch (error) {
    log.error("failed", { reason: error instanceof Error ? error.message : String(error) });
    log.debug("failed", { error });
    return 1;
  }
}

function welcome(ingest: Listener, api: Listener): string {
  const url = `http://${reachable(api)}`;
  const target = reachable(ingest);
  return `
  Tally is running, and ${DEVICES} simulated devices send to it. Ctrl-C stops both.

  Open
    ${url}/    the fleet, live

  Try, in another terminal
    curl ${url}/metrics
    curl -H 'Accept: text/plain' ${url}/metrics    the same, as Prometheus reads it
    deno task send --target ${target}    10 packets from sensor-1
    deno task simulate --target ${target} --devices 1000

  The counts are kept: start the demo again, and they go on.
`;
}

/** Where a program on this machine finds what listens on all addresses. */
function reachable({ host, port }: Listener): string {
  const name = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
  return `${name.includes(":") ? `[${name}]` : name}:${port}`;
}

if (import.meta.main) Deno.exit(await demo(Deno.args));
