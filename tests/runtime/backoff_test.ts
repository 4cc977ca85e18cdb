import { assert, assertEquals } from "@std/assert";

import { Backoff } from "../../src/runtime/backoff.ts";

const failures = (backoff: Backoff, count: number) => Array.from({ length: count }, () => backoff.failed());

Deno.test("Backoff.failed() doubles the wait up to its bound, and begins anew after a success", () => {
  const backoff = new Backoff({ firstMs: 10, maxMs: 65, random: () => 0 });
  assertEquals(failures(backoff, 6), [10, 20, 40, 65, 65, 65]);
  assertEquals(backoff.failures, 6);
  backoff.succeeded();
  assertEquals(backoff.failures, 0);
  assertEquals(failures(backoff, 3), [10, 20, 40]);
});

Deno.test("Backoff.failed() stays at its bound after any number of failures", () => {
  const backoff = new Backoff({ firstMs: 10, maxMs: 1000, random: () => 0 });
  assertEquals(failures(backoff, 5000).at(-1), 1000);
});

Deno.test("Backoff.failed() takes as much of the wait from chance as jitter allows", () => {
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

Deno.test("Backoff.failed() differs from one to the next without a random of one's own", () => {
  const waits = Array.from({ length: 100 }, () => new Backoff({ firstMs: 1000, maxMs: 1000 }).failed());
  assert(waits.every((ms) => ms > 500 && ms <= 1000), String(waits));
  assert(new Set(waits).size > 50);
});

Deno.test("Backoff.wait() waits as long as it is told by the timer, and ends when aborted", async () => {
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
