import { assertEquals } from "@std/assert";

import { isSessionName } from "../../src/protocol/field_limits.ts";

Deno.test("isSessionName() takes 1 to 128 printable ASCII characters without spaces", () => {
  for (const name of ["s", "~!", "x".repeat(128)]) assertEquals(isSessionName(name), true, name);
  for (const name of ["", "x".repeat(129), "a b", "a\n", "a\x7f", "é"]) {
    assertEquals(isSessionName(name), false, name);
  }
});
