/**
 * How exact the history of a value is.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";

import { HOUR_MS, MINUTE_MS } from "../../src/store/model/periods.ts";
import {
  type BlockKind,
  hourBlocks,
  minuteBlocks,
  readPeriods,
  withPeriod,
} from "../../src/store/model/value_blocks.ts";
import type { ValuePeriod } from "../../src/store/values.ts";
import { forSeeds } from "../support/random.ts";

const START_MS = 1_800_000_000_000 - 1_800_000_000_000 % (24 * HOUR_MS);

function blocksOf(kind: BlockKind, periods: readonly ValuePeriod[]): Uint8Array {
  return periods.reduce(
    (blocks: Uint8Array, period) => withPeriod(kind, blocks, period, period.startMs + kind.periodMs),
    new Uint8Array(0),
  );
}

Deno.test("readPeriods() has each number to a part of its block's range, in order, whatever its size", async () => {
  await forSeeds(200, (random) => {
    const kind = random.pick([minuteBlocks, hourBlocks]), count = random.int(1, 3 * kind.periods);
    const size = 10 ** random.int(-12, 14), base = random.pick([0, 1, -1000]) * size;
    const periods: ValuePeriod[] = [];
    for (let i = 0; i < count; i++) {
      if (random.chance(0.1)) continue;
      const numbers = Array.from({ length: 3 }, () => base + size * random.int(0, 1e6) / 1e5);
      const [min, mean, max] = numbers.sort((a, b) => a - b) as [number, number, number];
      periods.push({ startMs: START_MS + i * kind.periodMs, min, mean, max });
    }
    if (periods.length === 0) return;
    const read = readPeriods(kind, blocksOf(kind, periods));
    assertEquals(read.map(({ startMs }) => startMs), periods.map(({ startMs }) => startMs));
    const blockOf = ({ startMs }: ValuePeriod) => Math.floor(startMs / (kind.periodMs * kind.periods));
    for (const [block, ofBlock] of Map.groupBy(periods, blockOf)) {
      const range = Math.max(...ofBlock.map(({ max }) => max)) - Math.min(...ofBlock.map(({ min }) => min));
      const found = read.filter((period) => blockOf(period) === block);
      for (const [i, { min, mean, max }] of ofBlock.entries()) {
        const period = found[i]!;
        assert(period.min <= period.mean && period.mean <= period.max);
        const tolerance = 2.5 * range / kind.levels;
        for (const [is, was] of [[period.min, min], [period.mean, mean], [period.max, max]] as const) {
          assert(Math.abs(is - was) <= tolerance + 1e-12 * Math.abs(was), `${is} for ${was}, range ${range}`);
        }
      }
    }
  });
});

Deno.test("readPeriods() has the numbers that a sensor with few decimals sent, not the multiples near them", () => {
  const periods = Array.from({ length: 45 }, (_, i) => {
    const [min, max] = [(190 + i * 7 % 20) / 10, (220 + i * 3 % 20) / 10];
    return { startMs: START_MS + i * MINUTE_MS, min, mean: (min + max) / 2, max };
  });
  const read = readPeriods(minuteBlocks, blocksOf(minuteBlocks, periods));
  assertEquals(read.map(({ min, max }) => [min, max]), periods.map(({ min, max }) => [min, max]));
  for (const { mean } of read) {
    assert(String(mean).length <= 7, `${mean} has more decimals than it is exact to`);
  }
});
