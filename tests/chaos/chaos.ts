/**
 * `deno task chaos`: breaks Tally by every kind of fault for some minutes, and shows that no packet was lost
 * and none was counted twice.
 *
 * Exit codes: 0 if so, 1 if not, 2 for wrong arguments, 130 or 143 after SIGINT or SIGTERM.
 *
 * @module
 */
import { type FlagValues, integerOf, readArguments } from "../support/arguments.ts";
import { describeResult, isExact } from "./report.ts";
import { runChaos, type StoreKind } from "./run.ts";

const usage =
  `Usage: deno task chaos [--minutes M] [--store redis|cluster|sqlite|both] [--workers N] [--seed N] [--only TEXT]

A real store, two ingests, an api, and clients that know what they sent, while things fail; at the end,
what was sent is compared with what was counted.

  --minutes M   How long things fail; 10 unless given, fractions are allowed.
  --store S     Where packets are counted: redis, sqlite, or both, the default: half of the time each; or
                cluster, a Redis Cluster of three masters with a replica each.
  --workers N   Processes of each ingest that take packets, and die one by one too; 1 unless given.
  --secure      TLS on the device port, and a JWT for each client.
  --age T       TALLY_MAX_CONNECTION_AGE, as in 5s; none unless given.
  --seed N      Picks the same faults in the same order as an earlier run; drawn and printed unless given.
  --only TEXT   Only the kinds of faults whose name contains it.`;

const flags = {
  minutes: { type: "string", default: "10" },
  store: { type: "string", default: "both" },
  workers: { type: "string", default: "1" },
  secure: { type: "boolean", default: false },
  age: { type: "string", default: "" },
  seed: { type: "string", default: String(crypto.getRandomValues(new Uint32Array(1))[0]) },
  only: { type: "string", default: "" },
} as const;

async function main(): Promise<number> {
  const given = readArguments(usage, flags, argumentsOf);
  if (typeof given === "number") return given;
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
    console.log(`On ${{ redis: "Redis", cluster: "Redis Cluster", sqlite: "SQLite" }[store]}:`);
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

/** By the value of `--store`. */
const storesOf: Readonly<Record<string, readonly StoreKind[] | undefined>> = {
  redis: ["redis"],
  cluster: ["cluster"],
  sqlite: ["sqlite"],
  both: ["redis", "sqlite"],
};

/** `durationMs` is for each store. */
function argumentsOf(values: FlagValues<typeof flags>) {
  const minutes = Number(values.minutes);
  if (!(minutes > 0 && minutes <= 24 * 60)) {
    throw new Error(`--minutes: found "${values.minutes}"; expected a number above 0, up to 1440`);
  }
  const stores = storesOf[values.store];
  if (stores === undefined) {
    throw new Error(`--store: found "${values.store}"; expected redis, cluster, sqlite or both`);
  }
  return {
    seed: integerOf("seed", values.seed, 0, Number.MAX_SAFE_INTEGER),
    durationMs: minutes * 60_000 / stores.length,
    workers: integerOf("workers", values.workers, 1, 64),
    secure: values.secure,
    age: values.age,
    only: values.only,
    stores,
  };
}

if (import.meta.main) Deno.exit(await main());
