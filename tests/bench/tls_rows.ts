/**
 * What TLS costs: per packet, per handshake and per connection.
 *
 * @module
 */
import { type Ledger, type Measured, usualLoad } from "./measure.ts";
import { asLongAs, type BenchOptions, rate, type SectionPlan, startLedger } from "./rows.ts";
import { startSubject } from "./subject.ts";
import type { Row } from "./table.ts";

/** Plain and TLS in turn, round after round. */
async function comparePackets(options: BenchOptions): Promise<Row["figures"]> {
  await using parts = new AsyncDisposableStack();
  const compared: { readonly ledger: Ledger; readonly measured: Measured[] }[] = [];
  for (const kind of ["tally-redis", "tally-redis-tls"] as const) {
    const ledger = await startLedger(kind, options, parts);
    compared.push({ ledger, measured: [await ledger.load({ ...usualLoad, durationMs: options.warmUpMs })] });
  }
  for (let run = 0; run < options.runs; run++) {
    for (const { ledger, measured } of compared) {
      measured.push(await ledger.load(asLongAs(options.runMs, usualLoad, measured.at(-1)!)));
    }
  }
  const [plain, tls] = compared.map(({ ledger, measured }) => ({ ledger, runs: measured.slice(1) }));
  return {
    "plain": rate(plain!.runs, plain!.ledger),
    "TLS": rate(tls!.runs, tls!.ledger),
    "TLS ÷ plain": {
      values: tls!.runs.map(({ packetsPerSecond }, run) =>
        packetsPerSecond / plain!.runs[run]!.packetsPerSecond
      ),
      unit: "×",
      wrong: plain!.ledger.wrong ?? tls!.ledger.wrong,
    },
  };
}

/** Time of one run of `openssl s_time`, whole seconds. */
const HANDSHAKES_SECONDS = 3;

/** Handshakes of one after the other by as many clients of openssl; and what they cost the ingest. */
const CLIENTS = 2;

async function measureHandshakes(kind: "-new" | "-reuse", { runs }: BenchOptions): Promise<Row["figures"]> {
  await using subject = await startSubject("tally-redis-tls", 1);
  const args = ["s_time", "-connect", `127.0.0.1:${subject.port}`, kind, "-time", String(HANDSHAKES_SECONDS)];
  const perSecond: number[] = [], cpuMs: number[] = [];
  for (let run = 0; run < runs; run++) {
    const beforeMs = await cpuOf(subject.pids), startedMs = performance.now();
    const counts = await Promise.all(Array.from({ length: CLIENTS }, async () => {
      const { stdout } = await new Deno.Command("openssl", { args, stderr: "null" }).output();
      return Number(/(\d+) connections in \d+ real/.exec(new TextDecoder().decode(stdout))?.[1] ?? NaN);
    }));
    const total = counts.reduce((sum, count) => sum + count, 0);
    perSecond.push(total / (performance.now() - startedMs) * 1000);
    cpuMs.push((await cpuOf(subject.pids) - beforeMs) / total);
  }
  return {
    "handshakes/s": { values: perSecond, unit: "handshakes/s" },
    "processor time of ingest for each": { values: cpuMs, unit: "ms" },
  };
}

/** Processor time that processes have used, ms. */
async function cpuOf(pids: readonly number[]): Promise<number> {
  // Deno has no permission for /proc but all.
  const files = pids.map((pid) => `/proc/${pid}/stat`).join(" ");
  const { stdout } = await new Deno.Command("sh", { args: ["-c", `cat ${files}`] }).output();
  const ticks = new TextDecoder().decode(stdout).trim().split("\n").map((line) => {
    const fields = line.replace(/^.*\) /, "").split(" ");
    return Number(fields[11]) + Number(fields[12]);
  }).reduce((sum, each) => sum + each, 0);
  return ticks * 10; // 100 a second
}

/** The section. */
export const tls: SectionPlan = {
  title: "TLS",
  about:
    "One process, Redis. Packets: StreamPackets, a frame per message, 16 streams. Handshakes: ECDSA P-256, one after the " +
    "other by two openssl clients on the same machine.",
  rows: [
    { name: "Packets per second", needsRedis: true, long: false, measure: comparePackets },
    {
      name: "Full handshakes",
      needsRedis: true,
      long: false,
      measure: (options) => measureHandshakes("-new", options),
    },
    {
      name: "Resumed sessions",
      needsRedis: true,
      long: false,
      measure: (options) => measureHandshakes("-reuse", options),
    },
  ],
};
