/**
 * `deno task chaos`: breaks Tally in every way it knows for some minutes, and shows that no packet was lost
 * and none was counted twice.
 *
 * Exit codes: 0 if so, 1 if not, 2 for wrong arguments, 130 or 143 after SIGINT or SIGTERM.
 *
 * @module
 */
import { parseArgs } from "node:util";

import { describeResult, isExact } from "./report.ts";
import { type ChaosOptions, runChaos } from "./run.ts";

const usage =
  `Usage: deno task chaos [--minutes M] [--store redis|sqlite] [--workers N] [--seed N] [--only TEXT]

A real store, two ingests, an api, and clients that know what they sent, while things fail; at the end,
what was sent is compared with what was counted.

  --minutes M   How long things fail; 10 unless given, fractions are allowed.
  --store S     Where packets are counted; unless given, half of the time on Redis, then half on SQLite.
  --workers N   Processes of each ingest that take packets, and die one by one too; 1 unless given.
  --seed N      Picks the same faults in the same order as an earlier run; drawn and printed unless given.
  --only TEXT   Only the kinds of faults whose name contains it.`;

async function main(): Promise<number> {
  const given = readArguments();
  if (given === undefined) {
    console.error(usage);
    return 2;
  }
  const { seed } = given;
  const interrupted = new AbortController();
  const exitCodes = { SIGINT: 130, SIGTERM: 143 } as const;
  let exitCode: number | undefined;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => {
      exitCode = exitCodes[signal];
      interrupted.abort();
    });
  }
  console.log(`seed ${seed}: the same faults again with --seed ${seed}\n`);
  let areExact = true;
  for (const store of given.stores) {
    console.log(`On ${store === "redis" ? "Redis" : "SQLite"}:`);
    try {
      const { signal } = interrupted;
      const result = await runChaos({ ...given, store, signal, progress: console.log });
      if (exitCode !== undefined) return exitCode;
      console.log(`\n${describeResult(result)} (seed ${seed}, ${store})\n`);
      areExact &&= isExact(result);
    } catch (error) {
      if (exitCode === undefined) console.error(`seed ${seed}: the run on ${store} failed`, error);
      return exitCode ?? 1;
    }
  }
  return areExact ? 0 : 1;
}

/** What is asked for; `durationMs` is for each store. */
interface Arguments extends Pick<ChaosOptions, "seed" | "durationMs" | "workers" | "only"> {
  readonly stores: readonly ChaosOptions["store"][];
}

function readArguments(): Arguments | undefined {
  try {
    const { values } = parseArgs({
      args: Deno.args,
      options: {
        minutes: { type: "string", default: "10" },
        store: { type: "string" },
        workers: { type: "string", default: "1" },
        seed: { type: "string" },
        only: { type: "string", default: "" },
      },
    });
    const minutes = Number(values.minutes), workers = Number(values.workers);
    const seed = values.seed === undefined
      ? crypto.getRandomValues(new Uint32Array(1))[0]!
      : Number(values.seed);
    if (!(minutes > 0 && minutes <= 24 * 60) || !Number.isSafeInteger(seed)) return undefined;
    if (!Number.isInteger(workers) || workers < 1 || workers > 64) return undefined;
    const stores = (["redis", "sqlite"] as const).filter((store) =>
      values.store === undefined || values.store === store
    );
    if (stores.length === 0) return undefined;
    return { seed, durationMs: minutes * 60_000 / stores.length, workers, only: values.only, stores };
  } catch {
    return undefined; // an unknown flag
  }
}

if (import.meta.main) Deno.exit(await main());
