import { assert, assertEquals } from "@std/assert";

import { Backoff } from "../../src/runtime/backoff.ts";

const failures = (backoff: Backoff, count: number) => Array.from({ length: count }, () => backoff.failed());

Deno.test("Backoff.failed() doubles the wait up to its maximum, and starts again after a success", () => {
  const backoff = new Backoff({ firstMs: 10, maxMs: 65, random: () => 0 });
  assertEquals(failures(backoff, 6), [10, 20, 40, 65, 65, 65]);
  assertEquals(backoff.failures, 6);
  backoff.succeeded();
  assertEquals(backoff.failures, 0);
  assertEquals(failures(backoff, 3), [10, 20, 40]);
});

Deno.test("Backoff.failed() stays at its maximum after any number of failures", () => {
  const backoff = new Backoff({ firstMs: 10, maxMs: 1000, random: () => 0 });
  assertEquals(failures(backoff, 5000).at(-1), 1000);
});

Deno.test("Backoff.failed() randomizes the part of the wait that jitter states", () => {
  const waits = (jitter: number | undefined, random: number) =>
    failures(
      new Backoff({
        firstMs: 100,
        maxMs: 1000,
        random: () => random,
        ...jitter === undefined ? {} : { jitter },
      }),
      2,
    );
  assertEquals(waits(undefined, 0.5), [75, 150]);
  assertEquals(waits(1, 0.5), [50, 100]);
  assertEquals(waits(0, 0.5), [100, 200]);
});

Deno.test("Backoff.failed() differs from call to call without the random option", () => {
  const waits = Array.from({ length: 100 }, () => new Backoff({ firstMs: 1000, maxMs: 1000 }).failed());
  assert(waits.every((ms) => ms > 500 && ms <= 1000), String(waits));
  assert(new Set(waits).size > 50);
});

Deno.test("Backoff.wait() waits for the timer, and ends when aborted", async () => {
  const waited: number[] = [];
  const timer = (ms: number) => {
    waited.push(ms);
    return Promise.resolve();
  };
  await new Backoff({ firstMs: 1, maxMs: 1, timer }).wait(42);
  assertEquals(waited, [42]);

  const stop = new AbortController();
  const waiting = new Backoff({ firstMs: 1, maxMs: 1 }).wait(3_600_000, stop.signal);
  stop.abort();
  await waiting;
  await new Backoff({ firstMs: 1, maxMs: 1 }).wait(3_600_000, stop.signal);
});
