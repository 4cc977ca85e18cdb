import { assert, assertEquals, assertLessOrEqual, assertStrictEquals } from "@std/assert";

import { DeviceTable } from "../../src/ingest/batch/device_table.ts";
import { RejectReason } from "../../src/protocol/reject_reason.ts";
import { forSeeds } from "../support/random.ts";

const utf8 = (text: string) => new TextEncoder().encode(text);
const intern = (table: DeviceTable, bytes: Uint8Array) => table.intern(bytes, 0, bytes.length);

Deno.test("DeviceTable.intern() returns the same number for the same bytes, and another for others", () =>
  forSeeds(20, (random) => {
    const table = new DeviceTable({ maxDevices: 5000 });
    const known = new Map<string, number>();
    for (let i = 0; i < 4000; i++) {
      const id = random.chance(0.5) ? `sensor-${random.int(0, 3000)}` : "é".repeat(random.int(1, 64));
      const device = intern(table, utf8(id));
      assertEquals(table.device(device).id, id);
      assertEquals(device, known.get(id) ?? known.size);
      known.set(id, device);
    }
    assertEquals(table.size, known.size);
  }));

Deno.test("DeviceTable.intern() finds ids of any length again, also where a chunk of them ends", () => {
  for (const lastBytes of [125, 126, 127, 128]) {
    const table = new DeviceTable({ maxDevices: 1e6 });
    // Each with its length; 8,191 of 128 bytes leave 128 of a chunk's 2^20.
    const idOf = (i: number) =>
      utf8(`${i}`.padEnd(i === 8191 ? lastBytes : i < 8191 ? 127 : 1 + i % 128, "x"));
    const devices = Array.from({ length: 25_000 }, (_, i) => intern(table, idOf(i)));
    for (const [i, device] of devices.entries()) {
      assertEquals([device, intern(table, idOf(i))], [i, i]);
      assertEquals(table.device(device).id, new TextDecoder().decode(idOf(i)));
    }
  }
});

for (
  const [what, options] of [["devices", { maxDevices: 2000 }], ["bytes", {
    maxDevices: 1e6,
    maxIdBytes: 1,
  }]] as const
) {
  Deno.test(`DeviceTable is emptied at its maximum of ${what}, and never gives a number twice`, () => {
    const table = new DeviceTable(options);
    // A chunk of a mebibyte has 8,128 of them.
    const idOf = (i: number) => utf8(String(i).padStart(128, "x"));
    const numbers = new Set<number>();
    for (let i = 0; i < 20_000; i++) {
      const device = intern(table, idOf(i));
      assertEquals(intern(table, idOf(i)), device);
      assertEquals(table.device(device).id, new TextDecoder().decode(idOf(i)));
      numbers.add(device);
      assertLessOrEqual(table.size, what === "devices" ? 2000 : 8128);
    }
    assertEquals(numbers.size, 20_000);
    assert(table.generation > 0 && !numbers.has(intern(table, idOf(0))));
  });
}

Deno.test("DeviceTable.device() keeps one object of a device, up to the maximum", () => {
  const table = new DeviceTable({ maxDevices: 10, maxObjects: 2 });
  const [a, b, c] = ["a", "b", "c"].map((id) => intern(table, utf8(id))) as [number, number, number];
  const first = table.device(a);
  table.device(b);
  assertStrictEquals(table.device(a), first);
  table.device(c);
  assert(table.device(a) !== first);
});

for (
  const [what, bytes, reason] of [
    ["no bytes", utf8(""), RejectReason.DEVICE_ID_EMPTY],
    ["129 bytes", utf8("x".repeat(129)), RejectReason.DEVICE_ID_TOO_LONG],
    ["129 bytes in 65 characters", utf8("é".repeat(64) + "x"), RejectReason.DEVICE_ID_TOO_LONG],
    ["a lone continuation byte", new Uint8Array([97, 0x80]), RejectReason.DEVICE_ID_NOT_UTF8],
    ["an overlong slash", new Uint8Array([0xc0, 0xaf]), RejectReason.DEVICE_ID_NOT_UTF8],
    ["a surrogate", new Uint8Array([0xed, 0xa0, 0x80]), RejectReason.DEVICE_ID_NOT_UTF8],
    ["a NUL", utf8("a\0b"), RejectReason.DEVICE_ID_CONTROL_CHARACTER],
    ["a line feed", utf8("a\n"), RejectReason.DEVICE_ID_CONTROL_CHARACTER],
    ["a DEL", utf8("a\x7f"), RejectReason.DEVICE_ID_CONTROL_CHARACTER],
    ["a C1 control", utf8("a\x9b"), RejectReason.DEVICE_ID_CONTROL_CHARACTER],
  ] as const
) {
  Deno.test(`DeviceTable.intern() rejects an id of ${what} as ${RejectReason[reason]}`, () => {
    assertEquals(intern(new DeviceTable({ maxDevices: 10 }), bytes), -reason);
  });
}

Deno.test("DeviceTable.intern() accepts ids of 128 bytes, of emoji, of markup and with a byte order mark", () => {
  for (
    const id of ["x".repeat(128), "🚚", "<script>alert(1)</script>", "\u202eabc", "\ufeffa", "__proto__"]
  ) {
    const table = new DeviceTable({ maxDevices: 10 });
    assertEquals(table.device(intern(table, utf8(id))).id, id);
  }
});
