import { assertEquals } from "@std/assert";

import { messageOf } from "../../src/runtime/error_text.ts";

Deno.test("messageOf() is an error's message, and other values as text", () => {
  assertEquals(messageOf(new TypeError("wrong type")), "wrong type");
  assertEquals([messageOf("text"), messageOf(undefined), messageOf(7)], ["text", "undefined", "7"]);
});
