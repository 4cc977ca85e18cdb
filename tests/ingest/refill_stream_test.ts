/**
 * Streams of devices that keep acknowledged packets, as the metadata of their calls states it.
 *
 * @module
 */
import { status } from "@grpc/grpc-js";
import { assertEquals, assertMatch } from "@std/assert";

import { claimedEpoch, claimText, isClaimText } from "../../src/ingest/stream/claim_text.ts";
import { parseSessionStart } from "../../src/ingest/stream/session_start.ts";
import type { RequestError } from "../../src/protocol/request_error.ts";
import { countsOf } from "../support/batches.ts";
import { framedPacket, packet, RawCall, startTestIngest } from "../support/harness.ts";
import { startRedis } from "../support/redis_server.ts";
import { openStore } from "../support/redis_store.ts";

const packets = (count: number) => Array.from({ length: count }, () => framedPacket(packet()));

for (const [path, fastPath] of [["fast path", true], ["grpc-js", false]] as const) {
  Deno.test({
    name:
      `StreamPackets with telemetry-oldest goes back to what the store holds, and reports the rest (${path})`,
    // grpc-js keeps timers, which do not hold up the process, for ten seconds after a channel was closed.
    sanitizeOps: false,
    sanitizeResources: false,
  }, async () => {
    await using server = await startRedis();
    const store = await openStore(server);
    {
      await using ingest = await startTestIngest({ store, fastPath });
      const call = (offset: number, headers: Record<string, string>) =>
        RawCall.session(ingest.port, "s", offset, "StreamPackets", headers);
      const first = call(0, { "telemetry-oldest": "0" });
      assertEquals((await first.finish(...packets(10))).ack?.committed, 10);
      assertMatch(first.claim!, /^\d{13}$/);
      const claim = { "telemetry-claim": first.claim! };

      // Of a device that keeps nothing, there is no claim in the response.
      const plain = call(10, {});
      assertEquals([await plain.committed, plain.claim, plain.lost], ["10", undefined, undefined]);
      assertEquals((await plain.finish(...packets(1))).ack?.committed, 11);

      await server.call("FLUSHALL");
      const back = call(11, { "telemetry-oldest": "4", ...claim });
      assertEquals([await back.committed, back.lost], ["4", "4"]);
      const { ack } = await back.finish(...packets(7));
      assertEquals([ack?.stored, ack?.duplicates, ack?.committed], [7, 0, 11]);
      assertEquals(await countsOf(store), { "sensor-1": 7 });
      const { packetsLost, sessionsReverted } = ingest.counters;
      assertEquals([packetsLost, sessionsReverted], [4, 1]);

      // Without the claim of a call with an Ack, it moves up: the packets may be those of other credentials' session.
      await server.call("FLUSHALL");
      const unproven = call(11, { "telemetry-oldest": "4" });
      assertEquals([await unproven.committed, unproven.lost], ["11", "11"]);
      assertEquals((await unproven.finish(...packets(1))).ack?.committed, 12);
      const malformed = call(11, { "telemetry-oldest": "12" });
      assertEquals((await malformed.end).code, status.INVALID_ARGUMENT);
    }
    await store.close();
  });
}

Deno.test("parseSessionStart() refuses a telemetry-oldest above the offset, and a claim that Tally never sent", () => {
  const start = (oldest: string, claim?: string) =>
    parseSessionStart({ session: "s", offset: "5", oldest, ...claim === undefined ? {} : { claim } });
  assertEquals(start("5", "1795901882195").kept, { oldest: 5, claim: "1795901882195" });
  for (
    const call of [
      () => start("6"),
      () => start("-1"),
      () => start("x"),
      () => start("1", "x"),
      () => start("1", ""),
    ]
  ) {
    try {
      call();
    } catch (error) {
      assertEquals((error as RequestError).code, "INVALID_ARGUMENT");
      continue;
    }
    throw new Error("it is accepted");
  }
});

Deno.test("claimedEpoch() is undefined for the claim of another owner's session", () => {
  const anonymous = claimText(1795901882195, "s", "s"), owned = claimText(1795901882196, "s", "sensor-1 s");
  assertEquals([isClaimText(anonymous), isClaimText(owned)], [true, true]);
  assertEquals(claimedEpoch(anonymous, "s", "s"), 1795901882195);
  assertEquals(claimedEpoch(owned, "s", "sensor-1 s"), 1795901882196);
  for (const [claim, of] of [[anonymous, "sensor-1 s"], [owned, "s"], [owned, "sensor-2 s"]] as const) {
    assertEquals(claimedEpoch(claim, "s", of), undefined);
  }
  assertEquals(claimedEpoch(undefined, "s", "s"), undefined);
});
