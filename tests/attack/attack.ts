/**
 * `deno task attack`: known attacks on the device port beside honest clients, and what those kept.
 *
 * Exit codes: 0 if every ingest lived and every count was right, 1 if not, 2 for wrong arguments, 130 or 143
 * after SIGINT or SIGTERM.
 *
 * @module
 */
import { writeBenchmarks } from "../bench/benchmarks_file.ts";
import { describeMachine, machineFacts } from "../bench/machine.ts";
import { LoadProcesses } from "../bench/measure.ts";
import { markdownTable, textTable, wrapped } from "../bench/table.ts";
import { type FlagValues, integerOf, outputOf, patternOf, readArguments } from "../support/arguments.ts";
import { attacks } from "./attacks.ts";
import { type AttackResult, type AttackRun, measureAttack } from "./measure_attack.ts";
import { resultCells } from "./report.ts";

const usage =
  `Usage: deno task attack [--seconds N] [--quick] [--only REGEX] [--rate N] [--markdown | --write]

Attacks Tally's own ingest, each time a fresh process with a fresh SQLite file, from a process of the
attacker's own over loopback, beside honest clients of another process.

  --seconds N   How long each attack lasts; 10 unless given.
  --quick       Two seconds each.
  --only REGEX  Only attacks whose names match.
  --rate N      Packets per second that the honest clients send on 16 connections; 50000 unless given.
  --markdown    The table in Markdown.
  --write       Writes it to .github/BENCHMARKS.md: all attacks, so without --only and --quick.`;

const flags = {
  seconds: { type: "string" },
  quick: { type: "boolean", default: false },
  only: { type: "string", default: "" },
  rate: { type: "string", default: "50000" },
  markdown: { type: "boolean", default: false },
  write: { type: "boolean", default: false },
} as const;

/** Least share of their rate that honest clients are to keep. */
const GOAL = 0.8;

async function main(): Promise<number> {
  const given = readArguments(usage, flags, argumentsOf);
  if (typeof given === "number") return given;
  const chosen = attacks.filter(({ name }) => given.only.test(name));
  if (chosen.length === 0) {
    console.error("no attack matches --only");
    return 2;
  }
  await using processes = new LoadProcesses();
  let interrupted: number | undefined;
  for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
    Deno.addSignalListener(signal, () => {
      interrupted = code;
      processes.stop();
    });
  }
  const results: AttackResult[] = [], failures: string[] = [];
  for (const attack of chosen) {
    const run: AttackRun = {
      attackMs: 1000 * given.seconds * (given.quick ? 1 : attack.timeFactor ?? 1),
      baselineMs: Math.max(1000, 200 * given.seconds),
      packetsPerSecond: given.rate,
    };
    try {
      const result = await measureAttack(attack, processes, run);
      results.push(result);
      console.error(progressLine(result));
    } catch (error) {
      failures.push(`${attack.name}: ${error instanceof Error ? error.message : error}`);
    }
    if (interrupted !== undefined) return interrupted;
  }
  const about = `${describeMachine(await machineFacts())}; ${given.seconds} s per attack, honest clients at ${
    given.rate.toLocaleString("en")
  } packets/s on 16 connections.`;
  const markdown = `${wrapped(about)}\n\n${markdownTable(resultCells(results))}\n`;
  if (given.output === "text") console.log(`\n${about}\n\n${textTable(resultCells(results))}\n`);
  if (given.output === "markdown") console.log(markdown);
  if (given.output === "write") await writeBenchmarks("attack", markdown);
  const wrong = results.flatMap(({ name, wrong }) => wrong.map((what) => `${name}: ${what}`));
  for (const line of [...wrong, ...failures]) console.error(`WRONG  ${line}`);
  for (const { name, keptShare } of results) {
    if (keptShare !== undefined && keptShare < GOAL) console.error(`BELOW ${100 * GOAL} %  ${name}`);
  }
  return wrong.length + failures.length === 0 ? 0 : 1;
}

function progressLine(result: AttackResult): string {
  const [[, ...head], [name, ...cells]] = resultCells([result]) as [string[], string[]];
  return `${name}: ${cells.map((cell, i) => `${head[i]} ${cell}`).join("; ")}`;
}

function argumentsOf(values: FlagValues<typeof flags>) {
  if (values.write && (values.only !== "" || values.quick)) {
    throw new Error("--write takes all attacks: leave out --only and --quick, or use --markdown");
  }
  return {
    quick: values.quick,
    seconds: integerOf("seconds", values.seconds ?? (values.quick ? "2" : "10"), 1, 600),
    rate: integerOf("rate", values.rate, 1, 1_000_000),
    only: patternOf(values.only),
    output: outputOf(values, ["markdown", "write"]),
  };
}

if (import.meta.main) Deno.exit(await main());
