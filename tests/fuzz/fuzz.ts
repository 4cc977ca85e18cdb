/**
 * `deno task fuzz`: random input for the HTTP/2 engine, HPACK, and the decoders of packets and payloads.
 *
 * Exit codes: 0 if nothing failed, 1 if something did, 2 for wrong arguments.
 *
 * @module
 */
import { type FlagValues, integerOf, patternOf, readArguments } from "../support/arguments.ts";
import { creditFuzz } from "./credit_fuzz.ts";
import { engineFuzz } from "./engine_fuzz.ts";
import { floodFuzz } from "./flood_fuzz.ts";
import { casesOf, fuzz } from "./fuzz_run.ts";
import { hpackFuzz } from "./hpack_fuzz.ts";
import { packetFuzz } from "./packet_fuzz.ts";
import { payloadFuzz } from "./payload_fuzz.ts";

const usage = `Usage: deno task fuzz [--cases N] [--seed N] [--only REGEX]

Each case is made of its seed, one more than that of the case before. What fails is printed with its seed:
--seed N --cases 1 runs it again.

  --cases N     Cases of each target; 1000000 unless given. Of floods and credit, each MBs of work, one per thousand.
  --seed N      Seed of the first case; random unless given.
  --only REGEX  Only targets whose names match.`;

const MAX_NUMBER = 9_999_999_999;

const flags = {
  cases: { type: "string", default: "1000000" },
  seed: { type: "string", default: String(Math.floor(Math.random() * 2 ** 30)) },
  only: { type: "string", default: "" },
} as const;

const targets = [engineFuzz, floodFuzz, creditFuzz, hpackFuzz, packetFuzz, payloadFuzz];

async function main(): Promise<number> {
  const given = readArguments(usage, flags, argumentsOf);
  if (typeof given === "number") return given;
  const chosen = targets.filter(({ name }) => given.only.test(name));
  if (chosen.length === 0) {
    console.error(`no target matches --only; there are ${targets.map(({ name }) => name).join(", ")}`);
    return 2;
  }
  console.log(`seeds from ${given.seed} on`);
  let failed = 0;
  for (const target of chosen) {
    const onFailure = (failure: string) => console.error(`FAILED  ${target.name} ${failure}`);
    const result = await fuzz(target, given.seed, casesOf(target, given.cases), onFailure);
    const { cases, seconds, failures, peakMemoryBytes } = result;
    console.log(
      `${target.name}: ${cases.toLocaleString("en")} cases in ${seconds.toFixed(1)} s, ` +
        `at most ${Math.round(peakMemoryBytes / 1e6)} MB, ${failures.length} failed`,
    );
    failed += failures.length;
  }
  return failed === 0 ? 0 : 1;
}

function argumentsOf(values: FlagValues<typeof flags>) {
  return {
    cases: integerOf("cases", values.cases, 1, MAX_NUMBER),
    seed: integerOf("seed", values.seed, 0, MAX_NUMBER),
    only: patternOf(values.only),
  };
}

if (import.meta.main) Deno.exit(await main());
