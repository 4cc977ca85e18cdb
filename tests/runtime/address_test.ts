import { assertEquals } from "@std/assert";

import { formatAddress } from "../../src/runtime/address.ts";

Deno.test("formatAddress() puts IPv6 addresses in brackets, and no other host", () => {
  assertEquals(formatAddress("127.0.0.1", 50051), "127.0.0.1:50051");
  assertEquals(formatAddress("localhost", 0), "localhost:0");
  assertEquals(formatAddress("::1", 8000), "[::1]:8000");
  assertEquals(new URL(`http://${formatAddress("fe80::1", 8000)}/`).hostname, "[fe80::1]");
});
