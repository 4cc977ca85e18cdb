import { assertEquals } from "@std/assert";

import { httpStatus } from "../../src/api/http/http_status.ts";
import { RequestError } from "../../src/protocol/request_error.ts";
import { StoreError } from "../../src/store/store_error.ts";

Deno.test("httpStatus() sends a RequestError as it is, and of other errors no details", () => {
  assertEquals(httpStatus(new RequestError("NOT_FOUND", "no device a")), {
    status: 404,
    message: "no device a",
  });
  assertEquals(httpStatus(new StoreError("could not read on Redis at 10.0.0.1:6379")), {
    status: 503,
    message: "the store is unreachable: try again",
  });
  for (const error of [new Error("secret"), "secret", undefined]) {
    assertEquals(httpStatus(error), { status: 500, message: "internal error; the server's log has more" });
  }
});
