/**
 * `deno task bench`: how fast Tally is on this machine, and whether its counts stay right meanwhile.
 *
 * Exit codes: 0 if every count was right, 1 if one was not or a row failed, 2 for wrong arguments, 130 or 143
 * after SIGINT or SIGTERM.
 *
 * @module
 */
import { type FlagValues, integerOf, outputOf, patternOf, readArguments } from "../support/arguments.ts";
import { writeBenchmarks } from "./benchmarks_file.ts";
import { bodies, callLatency } from "./call_rows.ts";
import { besidePeers, costs } from "./cost_rows.ts";
import { connected, connecting, freshness, readers } from "./fleet_rows.ts";
import { describeMachine, machineFacts, maxConnections } from "./machine.ts";
import { largeFleet } from "./large_fleet_rows.ts";
import { LoadProcesses } from "./measure.ts";
import { isInstalled } from "./program.ts";
import { tls } from "./tls_rows.ts";
import {
  type BenchOptions,
  devices,
  packetStream,
  type RowPlan,
  type SectionPlan,
  streams,
  throughput,
} from "./rows.ts";
import { median, type Row, type Section, sectionMarkdown, sectionText, wrapped, wrongs } from "./table.ts";
import { values } from "./value_rows.ts";
import { VICTORIA_METRICS } from "./victoria_metrics.ts";

const usage = `Usage: deno task bench [--runs N] [--quick] [--only REGEX] [--workers N] [--peer COMMAND]
                       [--json | --markdown | --write]

Tally's own program in processes of its own, loaded through its port; after each run its store must hold
exactly what was sent. Each figure is the median of the runs, with the least and the greatest.

  --runs N      Repetitions of each row; 5 unless given.
  --quick       One short run of each row that is not long in itself, where all take half an hour.
  --only REGEX  Only rows whose table and name, as in "Packets per second: StreamBatches", match.
  --workers N   Processes where ingest has several; one per core unless given.
  --peer COMMAND  Another gRPC ingest to measure beside Tally: run as COMMAND PORT REDIS_PORT HASH, it takes
                packets on the port and adds each device's to the hash of that Redis before its Ack.
  --json        One document on standard output, with every run.
  --markdown    The tables in Markdown.
  --write       Writes them to .github/BENCHMARKS.md: all rows, so without --only and --quick.`;

const flags = {
  runs: { type: "string" },
  quick: { type: "boolean", default: false },
  only: { type: "string", default: "" },
  workers: { type: "string", default: String(navigator.hardwareConcurrency) },
  peer: { type: "string" },
  json: { type: "boolean", default: false },
  markdown: { type: "boolean", default: false },
  write: { type: "boolean", default: false },
} as const;

const plans: readonly SectionPlan[] = [
  throughput,
  bodies,
  callLatency,
  devices,
  packetStream,
  besidePeers,
  costs,
  values,
  streams,
  freshness,
  connecting,
  connected,
  tls,
  readers,
  largeFleet,
];

async function main(): Promise<number> {
  const given = readArguments(usage, flags, argumentsOf);
  if (typeof given === "number") return given;
  const machine = await machineFacts();
  if (machine.redis === undefined) {
    progress(
      "No redis-server on the PATH, so what needs it is left out: install it " +
        "(Debian: apt-get install redis-server; macOS: brew install redis)",
    );
  }
  progress(describeMachine(machine));
  await using processes = new LoadProcesses();
  let interrupted: number | undefined;
  for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
    Deno.addSignalListener(signal, () => {
      interrupted = code;
      processes.stop();
    });
  }
  const options: BenchOptions = {
    runs: given.runs,
    runMs: given.quick ? 400 : 800,
    warmUpMs: given.quick ? 300 : 700,
    workers: given.workers,
    hasRedis: machine.redis !== undefined,
    maxConnections: await maxConnections(progress),
    processes,
    peer: given.peer,
    hasVictoriaMetrics: await isInstalled(VICTORIA_METRICS),
  };
  if (!options.hasVictoriaMetrics) {
    progress(
      "No victoria-metrics on the PATH (Debian: apt-get install victoria-metrics): its column is left out",
    );
  }
  const sections: Section[] = [];
  for (const { title, about, rows: rowPlans } of plans) {
    const rows: Row[] = [];
    for (const plan of rowPlans) {
      const name = `${title}: ${plan.name}`;
      if (!given.only.test(name) || (given.quick && plan.long)) continue;
      if (plan.needsRedis && !options.hasRedis) {
        progress(`left out, as there is no redis-server: ${name}`);
        continue;
      }
      const startedAtMs = performance.now();
      rows.push(await measureRow(plan, options));
      if (interrupted !== undefined) return interrupted;
      progress(`${name} (${((performance.now() - startedAtMs) / 1000).toFixed(1)} s)`);
    }
    if (rows.length === 0) continue;
    sections.push({ title, about, rows });
    if (given.output === "text") console.log(`\n${sectionText({ title, about, rows })}`);
  }
  if (sections.length === 0) {
    progress("no row matches --only, or none that does can be measured");
    return 2;
  }

  const heading = `${
    describeMachine(machine)
  }; medians of ${given.runs} runs, least and greatest in brackets.`;
  const markdown = [wrapped(heading), ...sections.map(sectionMarkdown)].join("\n\n");
  if (given.output === "markdown") console.log(markdown);
  if (given.output === "write") await writeBenchmarks("bench", markdown);
  if (given.output === "json") {
    console.log(JSON.stringify({ machine, runs: given.runs, sections: sections.map(withMedians) }));
  }
  const wrong = sections.flatMap(wrongs);
  for (const line of wrong) progress(`WRONG  ${line}`);
  return wrong.length === 0 ? 0 : 1;
}

/** A row that fails is told with the others, which took minutes too. */
async function measureRow({ name, measure }: RowPlan, options: BenchOptions): Promise<Row> {
  try {
    return { name, figures: await measure(options) };
  } catch (error) {
    return { name, figures: {}, failure: error instanceof Error ? error.message : String(error) };
  }
}

/** Not on standard output, which is for the results. */
function progress(text: string): void {
  console.error(text);
}

function argumentsOf(values: FlagValues<typeof flags>) {
  if (values.write && (values.only !== "" || values.quick)) {
    throw new Error("--write takes all rows: leave out --only and --quick, or use --markdown");
  }
  return {
    quick: values.quick,
    runs: integerOf("runs", values.runs ?? (values.quick ? "1" : "5"), 1, 999),
    peer: values.peer,
    workers: integerOf("workers", values.workers, 1, 999),
    only: patternOf(values.only),
    output: outputOf(values, ["json", "markdown", "write"]),
  };
}

function withMedians({ title, rows }: Section) {
  return {
    title,
    rows: rows.map(({ name, figures, failure }) => ({
      name,
      failure,
      figures: Object.fromEntries(
        Object.entries(figures).map((
          [column, figure],
        ) => [column, { median: median(figure.values), ...figure }]),
      ),
    })),
  };
}

if (import.meta.main) Deno.exit(await main());
