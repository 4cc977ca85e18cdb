import { assertEquals } from "@std/assert";
import protobuf from "protobufjs";

import {
  MAX_VARINT_BYTES,
  readVarint,
  varintEnd,
  varintSize,
  writeVarint,
} from "../../src/protocol/varint.ts";
import { seededRandom } from "../support/random.ts";

/** Numbers around each length of a varint, around 2^31 and 2^32, and random ones. */
function numbers(): number[] {
  const random = seededRandom(7);
  const edges = Array.from({ length: 7 }, (_, bytes) => 2 ** (7 * (bytes + 1)));
  return [...edges, 2 ** 31, 2 ** 32, 2 ** 53 - 1, 1]
    .flatMap((edge) => [edge - 1, edge, edge + 1].filter(Number.isSafeInteger))
    .concat(Array.from({ length: 500 }, () => random.int(0, 2 ** random.int(1, 53) - 1)));
}

function written(value: number): Uint8Array {
  const bytes = new Uint8Array(12).fill(0xff);
  return bytes.subarray(1, writeVarint(bytes, 1, value));
}

Deno.test("writeVarint() writes what protobufjs writes as int64, in as many bytes as varintSize() states", () => {
  for (const value of numbers().flatMap((value) => [value, -value])) {
    assertEquals([...written(value)], [...protobuf.Writer.create().int64(value).finish()], String(value));
    assertEquals(varintSize(value), written(value).length, String(value));
  }
  assertEquals(varintSize(2 ** 53 - 1), MAX_VARINT_BYTES);
});

Deno.test("varintEnd() and readVarint() read what writeVarint() wrote, and longer forms of it", () => {
  for (const value of numbers()) {
    const bytes = new Uint8Array([0x80, ...written(value), 0x81]);
    assertEquals(varintEnd(bytes, 1), bytes.length - 1);
    assertEquals(readVarint(bytes, 1, bytes.length - 1), value);
  }
  const overlong = new Uint8Array([0x85, 0x80, 0x80, 0x00, 0x01]);
  assertEquals([varintEnd(overlong, 0), readVarint(overlong, 0, 4)], [4, 5]);
});

Deno.test("varintEnd() is undefined where the bytes end inside a varint", () => {
  assertEquals(varintEnd(new Uint8Array([1, 0x80, 0xff]), 1), undefined);
  assertEquals(varintEnd(new Uint8Array(0), 0), undefined);
  assertEquals(varintEnd(new Uint8Array([1]), 2), undefined);
});
