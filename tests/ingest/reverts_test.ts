import { assertEquals } from "@std/assert";

import type { Logger } from "@logtape/logtape";

import { createCounters } from "../../src/ingest/counters.ts";
import { Reverts } from "../../src/ingest/stream/reverts.ts";

Deno.test("Reverts.found() counts every session, and logs one line and a sum for any number of them", () => {
  const counters = createCounters();
  const lines: Record<string, unknown>[] = [];
  const log = { warn: (_: string, properties: Record<string, unknown>) => lines.push(properties) };
  const reverts = new Reverts(counters, log as unknown as Logger);
  for (let i = 0; i < 1000; i++) reverts.found(`s${i}`, { before: 10, committed: 7, lost: 2, resent: 1 });
  assertEquals(lines, [{ session: "s0", committed: 7, before: 10, lost: 2, resent: 1 }]);
  reverts.close();
  assertEquals(lines.slice(1), [{ sessions: 999, packets: 1998 }]);
  reverts.found("late", {
    before: Number.MAX_SAFE_INTEGER,
    committed: 0,
    lost: Number.MAX_SAFE_INTEGER,
    resent: 0,
  });
  assertEquals([counters.sessionsReverted, counters.packetsLost], [1001, Number.MAX_SAFE_INTEGER]);
  assertEquals(lines.length, 2);
});
