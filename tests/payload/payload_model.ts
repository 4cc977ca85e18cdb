/**
 * Random payloads, and what is to be found in them.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import { encode as encodeMessagePack } from "@msgpack/msgpack";
import { encode as encodeCbor } from "cborg";

import type { Random } from "../support/random.ts";

/** A tree of what formats can hold. */
export type Tree = number | bigint | boolean | string | null | Uint8Array | Tree[] | { [key: string]: Tree };

/** What writes a tree as a payload. */
export const encoders: Readonly<Record<"json" | "messagePack" | "cbor", (tree: Tree) => Uint8Array>> = {
  json: (tree) => new TextEncoder().encode(JSON.stringify(tree, withoutOthers)),
  messagePack: (tree) => encodeMessagePack(tree, { useBigInt64: true, maxDepth: 100 }),
  cbor: (tree) => encodeCbor(tree),
};

/** JSON has no bytes, and its numbers are doubles. */
function withoutOthers(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  return value instanceof Uint8Array ? null : value;
}

const keys = [
  ...[
    "temperature",
    "t",
    "__proto__",
    "constructor",
    "toString",
    "hasOwnProperty",
    "gps",
    "é",
    "温度",
    "a b",
  ],
  ...["x".repeat(64), "x".repeat(65), "é".repeat(32), "é".repeat(33), "\u0000", '"', "<b>"],
];

/** An object or array. */
export function randomTree(random: Random, depth = 0): Tree[] | { [key: string]: Tree } {
  if (random.chance(0.3)) return Array.from({ length: random.int(0, 10) }, () => randomNode(random, depth));
  // Own keys, `__proto__` too.
  return Object.fromEntries(
    Array.from({ length: random.int(0, 5) }, () => [
      random.chance(0.7) ? random.pick(keys) : `k${random.int(0, 99)}`,
      randomNode(random, depth),
    ]),
  );
}

function randomNode(random: Random, depth: number): Tree {
  if (depth < 5 && random.chance(0.2)) return randomTree(random, depth + 1);
  return random.pick<() => Tree>([
    () => randomDouble(random),
    () => randomDouble(random),
    () => random.int(-40, 300),
    () => random.int(-(2 ** 40), 2 ** 40),
    () => BigInt.asUintN(63, new DataView(random.bytes(8).buffer).getBigUint64(0)),
    () => -BigInt.asUintN(63, new DataView(random.bytes(8).buffer).getBigUint64(0)),
    () => random.chance(0.5),
    () => null,
    () => random.bytes(random.int(0, 40)),
    () => random.pick(["", "on", "é".repeat(random.int(0, 40)), "x".repeat(random.int(0, 70))]),
  ])();
}

/** Any bits: infinities, NaN and the smallest too. */
function randomDouble(random: Random): number {
  if (random.chance(0.2)) {
    return random.pick([0, -0, 5e-324, 1.7976931348623157e308, NaN, Infinity, 2 ** 53 - 1, 0.1]);
  }
  return new DataView(random.bytes(8).buffer).getFloat64(0);
}

/** Numbers and texts by name. */
export interface Found {
  readonly numbers: Map<string, number>;
  readonly texts: Map<string, string>;
}

/** What is to be found in a tree, by another way than the decoders': all paths, then those that are kept. */
export function expectedIn(tree: Tree): Found {
  const found: Found = { numbers: new Map(), texts: new Map() };
  const visit = (node: Tree, path: readonly string[]) => {
    if (node instanceof Uint8Array || node === null) return;
    if (typeof node === "object") {
      for (const [i, [key, child]] of Object.entries(node).entries()) {
        if (!Array.isArray(node) || i < 8) visit(child, [...path, key]);
      }
      return;
    }
    const name = path.join(".");
    if (path.length > 3 || name === "" || Buffer.byteLength(name) > 64) return;
    if (typeof node === "string") {
      if (Buffer.byteLength(node) <= 64) found.texts.set(name, node);
    } else if (Number.isFinite(Number(node))) found.numbers.set(name, Number(node));
  };
  visit(tree, []);
  return found;
}

/** Arrays in each other, so deep. */
export function deepArray(depth: number): Tree {
  let tree: Tree = 1;
  for (let i = 0; i < depth; i++) tree = [tree];
  return tree;
}
