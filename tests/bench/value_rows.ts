/**
 * What it costs to keep values.
 *
 * @module
 */
import { freePort } from "../support/free_port.ts";
import { type Used, usedBy } from "./cost_rows.ts";
import { Ledger, type Measured, usualLoad } from "./measure.ts";
import { asLongAs, type BenchOptions, rate, type SectionPlan } from "./rows.ts";
import { startSubject } from "./subject.ts";
import type { Figure, Row } from "./table.ts";

/** The same load with `TALLY_VALUES=on` and `off`, in turn, so that what else the machine does hits both alike. */
async function compareValues(devices: number, options: BenchOptions): Promise<Row["figures"]> {
  const { processes, warmUpMs, runMs, runs } = options;
  await using parts = new AsyncDisposableStack();
  const load = { ...usualLoad, devices, json: true };
  const compared: Compared[] = [];
  for (const setting of ["on", "off"]) {
    const opsPort = freePort();
    const settings = { TALLY_VALUES: setting, TALLY_OPS_PORT: String(opsPort) };
    const subject = parts.use(await startSubject("tally-redis", 1, { settings }));
    const ledger = new Ledger(subject, processes, 1);
    compared.push({ setting, ledger, measured: [], used: () => usedBy(subject, opsPort), cpu: [] });
  }
  // Every device is known when the runs begin.
  for (const { ledger, measured } of compared) {
    measured.push(await ledger.load({ ...load, durationMs: warmUpMs, minPackets: devices }));
  }
  for (let run = 0; run < runs; run++) {
    for (const { ledger, measured, used, cpu } of compared) {
      const before = await used();
      const last = await ledger.load(asLongAs(runMs, load, measured.at(-1)!));
      const after = await used();
      measured.push(last);
      const seconds = cpuSeconds(after) - cpuSeconds(before);
      cpu.push(seconds / last.packets * 1e6);
    }
  }
  for (const { measured } of compared) measured.shift();
  const figures: Record<string, Figure> = {};
  for (const { setting, ledger, measured } of compared) figures[setting] = rate(measured, ledger);
  const [on, off] = compared as [typeof compared[number], typeof compared[number]];
  figures["on ÷ off"] = {
    values: on.measured.map(({ packetsPerSecond }, run) =>
      packetsPerSecond / off.measured[run]!.packetsPerSecond
    ),
    unit: "×",
    wrong: on.ledger.wrong ?? off.ledger.wrong,
  };
  for (const { setting, ledger, cpu } of compared) {
    figures[`CPU per packet, ${setting}`] = { values: cpu, unit: "µs", wrong: ledger.wrong };
  }
  return figures;
}

/** One setting. */
interface Compared {
  readonly setting: string;
  readonly ledger: Ledger;
  readonly measured: Measured[];
  readonly used: () => Promise<Used>;
  /** Of each run: of ingest and Redis together, µs a packet, until all is counted. */
  readonly cpu: number[];
}

function cpuSeconds({ redisCpuSeconds, ingestCpuSeconds }: Used): number {
  return redisCpuSeconds + ingestCpuSeconds;
}

/** Large fleets are deferred after a while only: every device has to be known, and Redis busy. */
function longer(options: BenchOptions): BenchOptions {
  return { ...options, warmUpMs: 6 * options.warmUpMs, runMs: 4 * options.runMs };
}

/** With values and without. */
export const values: SectionPlan = {
  title: "Values",
  about:
    "StreamPackets, a frame per message, 16 streams, Redis, one process; payloads are JSON of 40 bytes with two " +
    "numbers. on: TALLY_VALUES=on, where they are kept with their history. CPU: of ingest and Redis together.",
  rows: [1000, 100_000].map((devices) => ({
    name: `${devices.toLocaleString("en")} devices`,
    needsRedis: true,
    long: false,
    measure: (options) => compareValues(devices, devices < 100_000 ? options : longer(options)),
  })),
};
