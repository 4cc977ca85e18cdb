import { assertEquals } from "@std/assert";

import { Omission, type OmittedRange } from "../../src/client/packet_buffer.ts";
import { AckCounter } from "../../src/client/totals.ts";
import { RejectReason } from "../../src/protocol/reject_reason.ts";

const omitted = (from: number, to: number, reason = Omission.DAMAGED_IN_FILE): OmittedRange => ({
  from,
  to,
  reason,
});

/** An Ack that rejects packets without a device_id, and others for their payload. */
function ack(stored: number, empty: number, tooLarge = 0) {
  const rejections = [
    { reason: RejectReason.DEVICE_ID_EMPTY, packets: empty },
    { reason: RejectReason.PAYLOAD_TOO_LARGE, packets: tooLarge },
  ].filter(({ packets }) => packets > 0);
  const rejected = empty + tooLarge;
  return { ok: true, stored, duplicates: 0, rejected, committed: stored + rejected, rejections };
}

Deno.test("AckCounter.add() counts replaced packets under their own reason", () => {
  const counter = new AckCounter();
  counter.newCall();
  assertEquals(counter.add(ack(5, 2), [omitted(5, 7)]), [{ reason: "DAMAGED_IN_FILE", packets: 2 }]);
  assertEquals(
    counter.add(ack(9, 4, 1), [omitted(8, 9, Omission.MESSAGE_TOO_LARGE)]),
    [
      { reason: "MESSAGE_TOO_LARGE", packets: 1 },
      { reason: "DEVICE_ID_EMPTY", packets: 1 },
      { reason: "PAYLOAD_TOO_LARGE", packets: 1 },
    ],
  );
  assertEquals([counter.stored, counter.rejected, counter.settledUnknown], [9, 5, 0]);
  // The Acks of a new call begin anew.
  counter.newCall();
  assertEquals(counter.add(ack(1, 1), []), [{ reason: "DEVICE_ID_EMPTY", packets: 1 }]);
  assertEquals([counter.stored, counter.rejected], [10, 6]);
  assertEquals(counter.rejections, [
    { reason: "DAMAGED_IN_FILE", packets: 2 },
    { reason: "MESSAGE_TOO_LARGE", packets: 1 },
    { reason: "DEVICE_ID_EMPTY", packets: 2 },
    { reason: "PAYLOAD_TOO_LARGE", packets: 1 },
  ]);
});

Deno.test("AckCounter.addSettledUnknown() counts replaced packets under their own reason", () => {
  const counter = new AckCounter();
  assertEquals(counter.addSettledUnknown(10, [omitted(2, 5)]), [{ reason: "DAMAGED_IN_FILE", packets: 3 }]);
  assertEquals(counter.addSettledUnknown(4, []), []);
  assertEquals([counter.stored, counter.rejected, counter.settledUnknown], [0, 3, 11]);
});
