import { status } from "@grpc/grpc-js";
import { assertEquals } from "@std/assert";

import { grpcStatus } from "../../src/ingest/rpc/grpc_status.ts";
import { RequestError } from "../../src/protocol/request_error.ts";
import { StoreError } from "../../src/store/store_error.ts";

Deno.test("grpcStatus() sends a RequestError as it is, and of other errors no details", () => {
  assertEquals(grpcStatus(new RequestError("RESOURCE_EXHAUSTED", "too large: send less")), {
    code: status.RESOURCE_EXHAUSTED,
    details: "too large: send less",
  });
  assertEquals(grpcStatus(new StoreError("could not apply on Redis at 10.0.0.1:6379")), {
    code: status.UNAVAILABLE,
    details: "the store is unreachable: try again",
  });
  for (const error of [new Error("secret"), "secret", undefined]) {
    assertEquals(grpcStatus(error), {
      code: status.INTERNAL,
      details: "internal error; the server's log has more",
    });
  }
});
