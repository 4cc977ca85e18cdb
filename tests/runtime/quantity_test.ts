import { assertEquals } from "@std/assert";

import { parseDuration, parseSize, parseWholeNumber } from "../../src/runtime/quantity.ts";

const wrong = [
  "",
  "5",
  " 5s",
  "5 s",
  "-5s",
  "+5s",
  "1.5s",
  "1e3s",
  "5S",
  "5d",
  "s",
  "5sm",
  "5toString",
  "٥s",
];

Deno.test("parseDuration() reads milliseconds, seconds, minutes and hours, and nothing else", () => {
  assertEquals(
    ["0ms", "500ms", "60s", "5m", "24h"].map(parseDuration),
    [0, 500, 60_000, 300_000, 86_400_000],
  );
  assertEquals([...wrong, "5KiB"].map(parseDuration), [...wrong, "5KiB"].map(() => undefined));
});

Deno.test("parseSize() reads bytes and their binary multiples, and nothing else", () => {
  assertEquals(["0B", "64KiB", "16MiB", "1GiB"].map(parseSize), [0, 65_536, 16_777_216, 1_073_741_824]);
  assertEquals([...wrong, "5KB", "5kib", "5s"].map(parseSize), [...wrong, "", "", ""].map(() => undefined));
});

Deno.test("parseWholeNumber() reads decimal digits, and nothing else", () => {
  assertEquals(["0", "007", "65535"].map(parseWholeNumber), [0, 7, 65_535]);
  assertEquals(
    ["", "-1", "+1", "1.0", "1e3", "0x10", " 1", "1 "].map(parseWholeNumber).every(isUndefined),
    true,
  );
});

function isUndefined(value: unknown): boolean {
  return value === undefined;
}
