/**
 * `deno task simulate`: sends from many simulated devices until it is stopped.
 *
 * Exit codes: 0 when every packet was acknowledged, 1 when not, 2 for wrong flags, 129, 130 or 143
 * when a second SIGHUP, SIGINT or SIGTERM cut the end short.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import { messageOf } from "../runtime/error_text.ts";
import { custom, duration, integer, optional, type Values } from "../runtime/settings.ts";
import { stopSignal } from "../runtime/stop_signal.ts";
import {
  formatted,
  keepAckedFlag,
  rateFlag,
  readFlags,
  targetFlag,
  tokenFlags,
  tokenOption,
  tokenProblems,
} from "./command_line.ts";
import { tlsFlags, tlsOption, tlsProblems } from "./tls_flags.ts";
import { Simulator, totalsText } from "./simulator.ts";

const usage = `Sends temperature and humidity of simulated devices to Tally, until Ctrl-C.

Usage: deno task simulate [flags]`;

const flags = {
  devices: integer("--devices", {
    default: "50",
    min: "1",
    max: "1000000",
    help: "How many devices.",
  }),
  rate: rateFlag("--rate", {
    default: "1",
    help: "Packets per second of each device, on average; devices differ.",
  }),
  target: targetFlag,
  ...tokenFlags,
  ...tlsFlags,
  keepAcked: keepAckedFlag,
  prefix: custom("--prefix", {
    default: "sim-",
    help: "Prefix of the devices' ids.",
  }, {
    allowed: "1 to 100 letters, digits, - and _",
    parse: (text) => /^[\w-]{1,100}$/.test(text) ? text : undefined,
  }),
  durationMs: optional(duration("--duration", {
    default: "",
    min: "1s",
    max: "8760h",
    help: "How long to send; by default until Ctrl-C.",
  })),
} as const;

const PROGRESS_INTERVAL_MS = 10_000;

/** How long the end may wait for packets that are not acknowledged yet. */
const STOP_TIMEOUT_MS = 3_000;

async function simulate(options: Values<typeof flags>): Promise<number> {
  const signal = stopSignal();
  let connected: boolean | undefined;
  const simulator = await Simulator.start({
    target: options.target,
    ...tokenOption(options),
    ...tlsOption(options),
    ...options.keepAcked === undefined ? {} : { keepAcked: options.keepAcked },
    devices: options.devices,
    ratePerDevice: options.rate,
    prefix: options.prefix,
    now: Date.now,
    random: Math.random,
    onConnection(error) {
      if (connected === (error === undefined)) return;
      connected = error === undefined;
      console.error(connected ? `Connected to ${options.target}` : `Waiting for Tally: ${error!.message}`);
    },
  });
  console.error(`${formatted(options.devices)} devices send to ${options.target}; Ctrl-C stops them`);
  const progress = setInterval(() => console.error(totalsText(simulator.totals)), PROGRESS_INTERVAL_MS);
  const abort = new AbortController();
  const timeUp = options.durationMs === undefined
    ? []
    : [delay(options.durationMs, undefined, { signal: abort.signal }).catch(() => {})];
  try {
    await Promise.race([signal, simulator.finished, ...timeUp]);
  } finally {
    clearInterval(progress);
    abort.abort();
  }
  const totals = await simulator.stop(STOP_TIMEOUT_MS);
  console.log(`${formatted(options.devices)} devices: ${totalsText(totals)}`);
  return totals.pending === 0 && totals.rejected === 0 ? 0 : 1;
}

async function main(args: readonly string[]): Promise<number> {
  const options = readFlags(usage, flags, args, (result) => [
    ...tokenProblems(result),
    ...tlsProblems(result),
  ]);
  if (typeof options === "number") return options;
  try {
    return await simulate(options);
  } catch (error) {
    console.error(messageOf(error));
    return 1;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
