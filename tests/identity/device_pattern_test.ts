import { assertEquals, assertStrictEquals } from "@std/assert";

import { coveredDevices, isDevicePattern } from "../../src/identity/device_pattern.ts";
import { anonymousDevice, covers, type DeviceIdentity } from "../../src/identity/identity.ts";
import { ownedSession } from "../../src/identity/session_owner.ts";

function identity(devices: readonly string[], subject = devices.join(",")): DeviceIdentity {
  return { kind: "token", subject, devices, expiresMs: Infinity };
}

for (
  const [text, allowed] of [
    ["sensor-1", true],
    ["factory-7/*", true],
    ["*", true],
    ["ä".repeat(64), true],
    [`${"a".repeat(128)}*`, true],
    ["", false],
    ["ä".repeat(65), false],
    ["a".repeat(129), false],
    ["a\nb", false],
    ["a\u0085", false],
    ["\ud800", false],
  ] as const
) {
  Deno.test(`isDevicePattern() ${allowed ? "accepts" : "refuses"} ${JSON.stringify(text.slice(0, 20))}`, () => {
    assertEquals(isDevicePattern(text), allowed);
  });
}

Deno.test("coveredDevices() covers what covers() does, and is undefined for every device", () => {
  const patterns = ["sensor-1", "factory-7/*", "a*b", "x**"];
  const covered = coveredDevices(identity(patterns))!;
  const ids = [
    "sensor-1",
    "sensor-10",
    "sensor-",
    "factory-7/",
    "factory-7/a",
    "factory-70",
    "a*b",
    "aab",
    "x*",
    "x",
  ];
  for (const id of ids) assertEquals(covered.has(id), patterns.some((pattern) => covers(pattern, id)), id);
  assertEquals(covered.has("sensor-1") && covered.has("factory-7/a") && !covered.has("sensor-10"), true);
  assertEquals(coveredDevices(anonymousDevice), undefined);
  assertEquals(coveredDevices(identity(["a", "*"])), undefined);
  const one = identity(["a"]);
  assertStrictEquals(coveredDevices(one), coveredDevices(one));
});

Deno.test("ownedSession() has another name for each identity, and that of the device for anonymous ones", () => {
  assertEquals(ownedSession(anonymousDevice, "s"), "s");
  assertEquals(ownedSession(identity(["sensor-1"]), "s"), "sensor-1 s");
  const subjects = [
    "a",
    "a b",
    "a #",
    "#a",
    "b",
    "ä",
    "a".repeat(64),
    "a".repeat(65),
    "a".repeat(66),
    "\n",
    "",
  ];
  // A subject that looks like the hash of another one.
  subjects.push(ownedSession(identity(["x"], "ä"), "s").slice(0, -2));
  const names = subjects.flatMap((subject) =>
    ["s", "b"].map((name) => ownedSession(identity(["x"], subject), name))
  );
  assertEquals(new Set(names).size, 2 * subjects.length);
  for (const name of names) assertEquals(/^[\x20-\x7e]{1,66}$/.test(name) && name.includes(" "), true, name);
});
