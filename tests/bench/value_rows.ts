/**
 * What it costs to keep values.
 *
 * @module
 */
import { Ledger, type Measured, usualLoad } from "./measure.ts";
import { asLongAs, type BenchOptions, rate, type SectionPlan } from "./rows.ts";
import { startSubject } from "./subject.ts";
import type { Figure, Row } from "./table.ts";

/** The same load with `TALLY_VALUES=on` and `off`, in turn, so that what else the machine does hits both alike. */
async function compareValues(devices: number, options: BenchOptions): Promise<Row["figures"]> {
  const { processes, warmUpMs, runMs, runs } = options;
  await using parts = new AsyncDisposableStack();
  const load = { ...usualLoad, devices, json: true };
  const compared: { setting: string; ledger: Ledger; measured: Measured[] }[] = [];
  for (const setting of ["on", "off"]) {
    const subject = parts.use(await startSubject("tally-redis", 1, { settings: { TALLY_VALUES: setting } }));
    compared.push({ setting, ledger: new Ledger(subject, processes, 1), measured: [] });
  }
  // Every device is known when the runs begin.
  for (const { ledger, measured } of compared) {
    measured.push(await ledger.load({ ...load, durationMs: warmUpMs, minPackets: devices }));
  }
  for (let run = 0; run < runs; run++) {
    for (const { ledger, measured } of compared) {
      measured.push(await ledger.load(asLongAs(runMs, load, measured.at(-1)!)));
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
  return figures;
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
    "numbers. on: TALLY_VALUES=on, where they are kept with their history.",
  rows: [1000, 100_000].map((devices) => ({
    name: `${devices.toLocaleString("en")} devices`,
    needsRedis: true,
    long: false,
    measure: (options) => compareValues(devices, devices < 100_000 ? options : longer(options)),
  })),
};
