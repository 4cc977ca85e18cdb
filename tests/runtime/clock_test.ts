import { assertGreaterOrEqual, assertLess } from "@std/assert";

import { systemClock } from "../../src/runtime/clock.ts";

Deno.test("systemClock has Unix milliseconds, and milliseconds of a clock that never goes back", () => {
  assertLess(Math.abs(systemClock.unixMs() - Date.now()), 1000);
  const beforeMs = performance.now();
  const measuredMs = systemClock.monotonicMs();
  assertGreaterOrEqual(measuredMs, beforeMs);
  assertGreaterOrEqual(performance.now(), measuredMs);
});
