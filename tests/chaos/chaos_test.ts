/** @module */
import { assert, assertEquals, assertGreaterOrEqual } from "@std/assert";

import { describeResult, isExact } from "./report.ts";
import { runChaos } from "./run.ts";

Deno.test("chaos: no packet is lost or counted twice in 45 seconds of every kind of fault", async () => {
  const seed = crypto.getRandomValues(new Uint32Array(1))[0]!;
  const { signal } = new AbortController();
  const result = await runChaos({ seed, durationMs: 45_000, workers: 1, signal, progress() {} });
  const report = `seed ${seed}\n${describeResult(result)}`;
  assert(isExact(result), report);
  const kinds = [...result.faults.values()].filter((times) => times > 0);
  assertGreaterOrEqual(kinds.length, 8, report);
  for (const row of result.comparison.rows) assertGreaterOrEqual(row.acknowledged, 1000, report);
});

// The clients' channels are closed, but grpc-js keeps a timer and an interval of its subchannel pool for up to 30 s.
const sanitizers = { sanitizeOps: false, sanitizeResources: false };

Deno.test(
  "chaos: an interrupted run leaves no process running, and reports the interruption",
  sanitizers,
  async () => {
    const interrupted = new AbortController();
    const { signal } = interrupted;
    const running = runChaos({ seed: 1, durationMs: 60_000, workers: 2, signal, progress() {} });
    setTimeout(() => interrupted.abort(), 3000);
    const error = await running.then(() => undefined, (error) => error);
    assertEquals(error, signal.reason);
  },
);
