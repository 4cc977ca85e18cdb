/**
 * Payloads as libraries encode them, mutated and random: what is in them is found, to the last bit, and nothing else.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import { MAX_DECODED_BYTES, payloadDecoder } from "../../src/payload/payload_decoder.ts";
import type { Sample } from "../../src/payload/sample.ts";
import { encoders, expectedIn, randomTree } from "../payload/payload_model.ts";
import type { Random } from "../support/random.ts";
import type { FuzzTarget } from "./fuzz_run.ts";

/** More than a payload of this target has. */
const all = await payloadDecoder({ maxNames: 4096 });

const MAX_NAMES = 16;
const bounded = await payloadDecoder({ maxNames: MAX_NAMES });

/** A payload takes some µs; the machine may do other things meanwhile. */
const MAX_MS = 2000;

function fuzzPayload(random: Random): void {
  const tree = randomTree(random);
  const format = random.pick(["json", "messagePack", "cbor"] as const);
  const bytes = encoders[format](tree);
  const isDecoded = bytes.length <= MAX_DECODED_BYTES && (format === "json" || bytes.length >= 4);
  const sample = all(bytes), expected = expectedIn(tree);
  if (isDecoded) {
    same(
      new Map(sample?.names.map((name, i) => [name, sample.numbers[i]!])),
      expected.numbers,
      format,
      bytes,
    );
    same(
      new Map(sample?.textNames.map((name, i) => [name, sample.texts[i]!])),
      expected.texts,
      format,
      bytes,
    );
  }
  checkBounds(bounded(bytes), bytes);
  const mutated = bytes.slice();
  for (let n = random.int(1, 4); n > 0 && mutated.length > 0; n--) {
    mutated[random.int(0, mutated.length - 1)] = random.int(0, 255);
  }
  checkAny(mutated);
  checkAny(mutated.subarray(0, random.int(0, mutated.length)));
  checkAny(random.bytes(random.int(0, 60)));
}

function same<T>(found: Map<string, T>, expected: Map<string, T>, format: string, bytes: Uint8Array): void {
  // Formats and libraries may write -0 as 0.
  const isSame = found.size === expected.size &&
    [...expected].every(([name, value]) => found.has(name) && found.get(name) === value);
  if (isSame) return;
  throw new Error(
    `${format}: found ${JSON.stringify([...found])}, expected ${JSON.stringify([...expected])}: ${
      hex(bytes)
    }`,
  );
}

function checkAny(bytes: Uint8Array): void {
  const startedMs = performance.now();
  checkBounds(bounded(bytes), bytes);
  const tookMs = performance.now() - startedMs;
  if (tookMs > MAX_MS) throw new Error(`${tookMs} ms for ${bytes.length} bytes: ${hex(bytes)}`);
}

function checkBounds(sample: Sample | undefined, bytes: Uint8Array): void {
  if (sample === undefined) return;
  const { names, numbers, textNames, texts } = sample;
  const isBounded = names.length <= MAX_NAMES && texts.length <= MAX_NAMES &&
    numbers.every(Number.isFinite) &&
    [...names, ...textNames].every((name) => name !== "" && Buffer.byteLength(name) <= 64) &&
    texts.every((text) => Buffer.byteLength(text) <= 64);
  if (!isBounded) throw new Error(`out of bounds: ${JSON.stringify(sample)}: ${hex(bytes)}`);
}

function hex(bytes: Uint8Array): string {
  return bytes.toHex();
}

/** JSON, MessagePack, CBOR and decimals. */
export const payloadFuzz: FuzzTarget = { name: "payloads", run: fuzzPayload };
