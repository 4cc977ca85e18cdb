import { assertEquals, assertRejects } from "@std/assert";

import { withTimeout } from "../../src/runtime/timeout.ts";

const never = new Promise<string>(() => {});

Deno.test("withTimeout() resolves and rejects as the work does, and leaves no timer", async () => {
  const late = () => "late";
  assertEquals(await withTimeout(60_000, Promise.resolve("done"), late), "done");
  assertEquals(await withTimeout(60_000, Promise.resolve(undefined), late), undefined);
  await assertRejects(
    () => withTimeout(60_000, Promise.reject(new RangeError("failed")), late),
    RangeError,
    "failed",
  );
});

Deno.test("withTimeout() returns or throws what onTimeout does when the work takes longer", async () => {
  assertEquals(await withTimeout(1, never, () => "late"), "late");
  await assertRejects(
    () =>
      withTimeout(1, never, () => {
        throw new RangeError("too late");
      }),
    RangeError,
    "too late",
  );
});

Deno.test("withTimeout() discards work that fails after the timeout", async () => {
  const work = Promise.withResolvers<string>();
  assertEquals(await withTimeout(1, work.promise, () => "late"), "late");
  work.reject(new Error("a rejection without a handler would end the test"));
  await work.promise.catch(() => {});
});
