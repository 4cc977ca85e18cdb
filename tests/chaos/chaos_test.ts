/** @module */
import { assert, assertEquals, assertGreaterOrEqual } from "@std/assert";

import { describeResult, isExact } from "./report.ts";
import { runChaos } from "./run.ts";

// The clients' channels are closed, but grpc-js keeps a timer and an interval of its subchannel pool for up to 30 s.
const sanitizers = { sanitizeOps: false, sanitizeResources: false };

for (
  const { store, seconds } of [
    { store: "redis", seconds: 18 },
    { store: "cluster", seconds: 15 },
    { store: "sqlite", seconds: 16 },
  ] as const
) {
  const title = `Nothing is lost and nothing counted twice in ${seconds} seconds of faults on ${store}`;
  Deno.test(title, sanitizers, async () => {
    const seed = crypto.getRandomValues(new Uint32Array(1))[0]!;
    const { signal } = new AbortController();
    const options = {
      store,
      seed,
      durationMs: seconds * 1000,
      workers: 1,
      secure: false,
      age: "",
      only: "",
      signal,
      progress() {},
    };
    const result = await runChaos(options);
    const report = `seed ${seed}\n${describeResult(result)}`;
    assert(isExact(result), report);
    if (Deno.build.os === "linux") assertEquals(result.leftOut, []);
    const kinds = [...result.faults.values()].filter((times) => times > 0);
    assertGreaterOrEqual(kinds.length, 8, report);
    for (const row of result.comparison.rows) assertGreaterOrEqual(row.acknowledged, 500, report);
  });
}

Deno.test("A run that is interrupted leaves no process behind and reports it", sanitizers, async () => {
  const interrupted = new AbortController();
  const { signal } = interrupted;
  const running = runChaos({
    store: "sqlite",
    seed: 1,
    durationMs: 60_000,
    workers: 2,
    secure: false,
    age: "",
    only: "",
    signal,
    progress() {},
  });
  setTimeout(() => interrupted.abort(), 3000);
  const error = await running.then(() => undefined, (error) => error);
  assertEquals(error, signal.reason);
});
