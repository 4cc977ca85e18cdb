import { assert, assertEquals, assertLessOrEqual, assertStrictEquals } from "@std/assert";

import { Device } from "../../src/ingest/batch/device_delta.ts";
import { DeviceTable } from "../../src/ingest/batch/device_table.ts";
import { RejectReason } from "../../src/protocol/reject_reason.ts";
import { forSeeds } from "../support/random.ts";

const utf8 = (text: string) => new TextEncoder().encode(text);
const intern = (table: DeviceTable, bytes: Uint8Array) => table.intern(bytes, 0, bytes.length);

Deno.test("DeviceTable.intern() returns the same device for the same bytes, and another for others", () =>
  forSeeds(20, (random) => {
    const table = new DeviceTable(5000);
    const known = new Map<string, Device>();
    for (let i = 0; i < 4000; i++) {
      const id = random.chance(0.5) ? `sensor-${random.int(0, 3000)}` : "é".repeat(random.int(1, 64));
      const device = intern(table, utf8(id));
      assert(device instanceof Device);
      assertEquals(device.id, id);
      const before = known.get(id);
      if (before === undefined) known.set(id, device);
      else assertStrictEquals(device, before);
    }
    assertEquals(table.size, known.size);
  }));

Deno.test("DeviceTable never holds more devices than its maximum", () => {
  const table = new DeviceTable(2000);
  for (let i = 0; i < 20_000; i++) {
    const device = intern(table, utf8(`sensor-${i}`));
    assert(device instanceof Device && device.id === `sensor-${i}`);
    assertLessOrEqual(table.size, 2000);
  }
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
    assertEquals(intern(new DeviceTable(10), bytes), reason);
  });
}

Deno.test("DeviceTable.intern() accepts ids of 128 bytes, of emoji, of markup and with a byte order mark", () => {
  for (
    const id of ["x".repeat(128), "🚚", "<script>alert(1)</script>", "\u202eabc", "\ufeffa", "__proto__"]
  ) {
    const device = intern(new DeviceTable(10), utf8(id));
    assert(device instanceof Device);
    assertEquals(device.id, id);
  }
});
