/** Payloads of each format → numbers and texts by name. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import protobuf from "protobufjs";

import { type DecodePayload, MAX_DECODED_BYTES, payloadDecoder } from "../../src/payload/payload_decoder.ts";
import { seededRandom } from "../support/random.ts";
import { deepArray, encoders, type Tree } from "./payload_model.ts";

const decode = await payloadDecoder({ maxNames: 16 });

/** Numbers and texts by name; undefined: the payload has none. */
function found(
  payload: string | Uint8Array,
  by: DecodePayload = decode,
): Record<string, unknown> | undefined {
  const bytes = typeof payload === "string" ? new TextEncoder().encode(payload) : payload;
  const sample = by(bytes);
  return sample && Object.fromEntries([
    ...sample.names.map((name, i) => [name, sample.numbers[i]]),
    ...sample.textNames.map((name, i) => [name, sample.texts[i]]),
  ]);
}

const tree: Tree = {
  temperature: 21.5,
  on: true,
  off: false,
  state: "idle",
  nothing: null,
  gps: { lat: 59.9, sats: { used: 7, all: { of: 12 } } },
  axes: [1, -2, 0.5, 4, 5, 6, 7, 8, 9, 10],
};

const expected = {
  ...{ temperature: 21.5, on: 1, off: 0, state: "idle", "gps.lat": 59.9, "gps.sats.used": 7 },
  ...{
    "axes.0": 1,
    "axes.1": -2,
    "axes.2": 0.5,
    "axes.3": 4,
    "axes.4": 5,
    "axes.5": 6,
    "axes.6": 7,
    "axes.7": 8,
  },
};

for (const format of ["json", "messagePack", "cbor"] as const) {
  Deno.test(`payloadDecoder(): ${format} to depth 3, arrays up to 8 items`, () => {
    const names = found(encoders[format](tree))!;
    assertEquals(
      Object.fromEntries(Object.entries(names).sort()),
      Object.fromEntries(Object.entries(expected).sort()),
    );
    assertEquals(found(encoders[format]([1, "x"])), { "0": 1, "1": "x" });
  });

  Deno.test(`payloadDecoder(): ${format} of a stranger: __proto__, deep, and of 1,000 names`, () => {
    const polluting = Object.fromEntries([["__proto__", 1], ["constructor", { prototype: { polluted: 2 } }]]);
    const sample = decode(encoders[format](polluting))!;
    assertEquals([...sample.names].sort(), ["__proto__", "constructor.prototype.polluted"]);
    assertEquals(({} as Record<string, unknown>).polluted, undefined);
    assertEquals(found(encoders[format]({ t: 1, deep: deepArray(20) })), { t: 1 });
    // What is too deep is not decoded, or skipped; in no case does it end the process.
    const bomb = format === "json"
      ? new TextEncoder().encode("[".repeat(MAX_DECODED_BYTES))
      : new Uint8Array(MAX_DECODED_BYTES).fill(format === "cbor" ? 0x81 : 0x91);
    assertEquals(decode(bomb), undefined);
    const many = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`n${i + 100}`, i]));
    const bounded = decode(encoders[format](many))!;
    assertEquals([bounded.names.length, bounded.dropped], [16, 284]);
    const long = { ...many, text: "x".repeat(MAX_DECODED_BYTES) };
    assertEquals(decode(encoders[format](long)), undefined);
  });
}

Deno.test("payloadDecoder(): lengths that a payload claims and does not have", () => {
  for (
    const bytes of [
      [0xdf, 0xff, 0xff, 0xff, 0xff],
      [0xdd, 0xff, 0xff, 0xff, 0xff, 0x01],
      [0x81, 0xdb, 0xff, 0xff, 0xff, 0xff],
      [0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
      [0x9b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x01],
      [0xa1, 0x7b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
      [0xbf, 0x61, 0x74, 0x01],
      [0x81, ...Array<number>(100).fill(0xc1), 0x01],
    ]
  ) assertEquals(decode(Uint8Array.from(bytes)), undefined, String(bytes));
});

Deno.test("payloadDecoder(): CBOR of indefinite length, with tags, half floats and integer keys", () => {
  // {_ "t": 1(1700000000.5), 3: 1.5 as half, "x": (_ "a", "b"), "u": simple(255)}
  const bytes = [
    ...[0xbf, 0x61, 0x74, 0xc1, 0xfb, 0x41, 0xd9, 0x54, 0xfc, 0x40, 0x20, 0, 0, 0x03, 0xf9, 0x3e, 0x00],
    ...[0x61, 0x78, 0x7f, 0x61, 0x61, 0x61, 0x62, 0xff, 0x61, 0x75, 0xf8, 0xff, 0xff],
  ];
  assertEquals(found(Uint8Array.from(bytes)), { "3": 1.5, t: 1700000000.5 });
});

Deno.test("payloadDecoder(): decimals in ASCII, alone but for spaces", () => {
  for (
    const [text, value] of [["21.5", 21.5], [" -3\r\n", -3], ["+.5", 0.5], ["1e3", 1000], ["7", 7], ["5.", 5]]
  ) {
    assertEquals(found(text as string), { value: value as number });
  }
  for (
    const text of [
      "",
      " ",
      "21,5",
      "0x10",
      "1 2",
      "--1",
      "NaN",
      "Infinity",
      "1e999",
      "2".repeat(40),
      "v1",
      ".",
    ]
  ) {
    assertEquals(found(text), undefined, text);
  }
});

Deno.test("payloadDecoder(): numbers that JSON can write and a double cannot hold are none", () => {
  assertEquals(found('{"a":1e999,"b":-1e999,"c":1e-999,"d":12345678901234567890}'), {
    c: 0,
    d: 12345678901234567000,
  });
  assertEquals(found('{"a":1,"a":2}'), { a: 2 });
  assertEquals(found('{"a":1} x'), undefined);
  assertEquals(found('{"\\ud800":1,"b":2}'), { b: 2 });
});

Deno.test("payloadDecoder(): of random bytes, fewer than 1 in 100 of any length from 2 on have values", () => {
  const random = seededRandom(7);
  for (let length = 2; length <= 32; length++) {
    let taken = 0;
    for (let i = 0; i < 5000; i++) if (decode(random.bytes(length)) !== undefined) taken++;
    assert(taken < 5000 / 100, `${taken} of 5000 with ${length} bytes`);
  }
});

const schema = {
  text: `syntax = "proto3"; package acme;
    message Reading {
      enum State { IDLE = 0; RUNNING = 1; }
      double temperature = 1;
      int64 counter = 2;
      State state = 3;
      repeated float axes = 4;
      Gps gps = 5;
      map<string, double> more = 6;
      bytes raw = 7;
      optional double rare = 8;
    }
    message Gps { float lat = 1; Gps inner = 2; }`,
  message: "acme.Reading",
};

Deno.test("payloadDecoder(): protobuf by schema; absent numbers are 0, other formats are decoded too", async () => {
  const byProto = await payloadDecoder({ maxNames: 16, schema });
  const type = protobuf.parse(schema.text, { keepCase: true }).root.lookupType(schema.message);
  const payload = type.encode(type.create({
    ...{ temperature: 21.5, counter: 2 ** 40, state: 1, axes: [0.5], gps: { lat: 1.5 } },
    more: Object.fromEntries([["__proto__", 3], ["x", 4]]),
  })).finish();
  const values = found(payload, byProto)!;
  assertEquals([values.temperature, values.counter, values.state], [21.5, 2 ** 40, "RUNNING"]);
  assertEquals([values["axes.0"], values["gps.lat"], values["more.x"], values.rare], [
    0.5,
    1.5,
    4,
    undefined,
  ]);
  const zero = found(type.encode(type.create({ counter: 1 })).finish(), byProto)!;
  assertEquals([zero.temperature, zero.counter], [0, 1]);
  assertEquals(found('{"t":1}', byProto), { t: 1 });
  // Messages in each other, as deep as a payload allows.
  let deep: Uint8Array = new Uint8Array([0x0d, 0, 0, 0, 0]);
  while (deep.length < 3000) deep = Uint8Array.from([0x12, ...varint(deep.length), ...deep]);
  byProto(Uint8Array.from([0x2a, ...varint(deep.length), ...deep]));
  for (let i = 0; i < 20_000; i++) byProto(seededRandom(i).bytes(40));
});

function varint(value: number): number[] {
  return value < 128 ? [value] : [value & 127 | 128, value >> 7];
}

Deno.test("payloadDecoder() rejects a schema that is none, or lacks the message", async () => {
  await assertRejects(
    () => payloadDecoder({ maxNames: 16, schema: { text: "nonsense {", message: "A" } }),
    Error,
  );
  await assertRejects(
    () => payloadDecoder({ maxNames: 16, schema: { ...schema, message: "acme.Other" } }),
    Error,
    "acme.Other",
  );
});
