/**
 * Samples that are added in the bytes of a record, against records that are decoded and encoded.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";

import { Sample } from "../../src/payload/sample.ts";
import { HOUR_MS, MINUTE_MS } from "../../src/store/model/periods.ts";
import { addInPlace } from "../../src/store/model/record_in_place.ts";
import { decodeRecord, DeviceRecord, encodeRecord } from "../../src/store/model/value_record.ts";
import { forSeeds, type Random } from "../support/random.ts";

const MAX_NAMES = 4;
const names = ["t", "temperature", "température", "\u{1f321}", "t.0", "__proto__"];
const texts = ["", "1.0", "1.1", "größe", "x".repeat(64)];
const numbers = [0, -0, 21.5, 0.1, -1e308, 1e308, 5e-324, Number.MAX_SAFE_INTEGER];

function randomSample(random: Random, fixed: readonly string[]): Sample {
  const sample = new Sample(MAX_NAMES);
  const used = random.chance(0.8) ? fixed : Array.from({ length: 3 }, () => random.pick(names));
  for (const name of used) sample.number(name, random.pick(numbers) + random.int(0, 9));
  for (const name of used.slice(1)) {
    sample.text(name, random.chance(0.9) ? texts[used.length % texts.length]! : random.pick(texts));
  }
  if (random.chance(0.1)) sample.dropped = random.pick([1, 70_000]);
  return sample;
}

Deno.test("addInPlace() leaves the bytes that DeviceRecord.add() and encodeRecord() make", async () => {
  let inPlace = 0, otherwise = 0;
  await forSeeds(300, (random) => {
    const fixed = names.slice(random.int(0, 3), random.int(4, 6));
    let atMs = 1_800_000_000_000 + random.int(0, HOUR_MS),
      bytes = Buffer.from(encodeRecord(new DeviceRecord()));
    for (let i = 0; i < 30; i++) {
      const sample = randomSample(random, fixed);
      const expected = decodeRecord(bytes);
      expected.add(sample, atMs, MAX_NAMES, () => {});
      const encoded = Buffer.from(encodeRecord(expected)), before = Buffer.from(bytes);
      if (addInPlace(bytes, sample, atMs)) {
        inPlace++;
        assertEquals(bytes, encoded);
      } else {
        otherwise++;
        assertEquals(bytes, before);
        bytes = encoded;
      }
      atMs += random.pick([0, 100, 1000, -900, 30_000, MINUTE_MS, -2 * MINUTE_MS, HOUR_MS]);
    }
  });
  assert(inPlace > 500 && otherwise > 500, `${inPlace} samples in place, ${otherwise} otherwise`);
});

Deno.test("addInPlace() leaves a record alone that another version of Tally wrote", () => {
  const sample = new Sample(MAX_NAMES);
  sample.number("t", 1);
  const record = new DeviceRecord();
  record.add(sample, 1_800_000_000_000, MAX_NAMES, () => {});
  const bytes = Buffer.from(encodeRecord(record));
  bytes[0]!++;
  const before = Buffer.from(bytes);
  assertEquals(addInPlace(bytes, sample, 1_800_000_000_000), false);
  assertEquals(bytes, before);
});
