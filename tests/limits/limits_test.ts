/** The arithmetic of the limits; what they do to devices is in `tests/ingest/limits_test.ts`. */
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";

import { Accounts } from "../../src/limits/accounts.ts";
import { PacedBucket } from "../../src/limits/paced_bucket.ts";
import { type MeteredDevice, StreamPacer } from "../../src/limits/stream_pacer.ts";
import { RequestError } from "../../src/protocol/request_error.ts";

Deno.test("PacedBucket lets pass a second's tokens, then as many as the debt allows, and is paid by time", () => {
  let nowMs = 0;
  const bucket = new PacedBucket(10, () => nowMs);
  const taken = (maxDebtSeconds: number) => {
    let taken = 0;
    while (bucket.take(1, maxDebtSeconds)) taken++;
    return taken;
  };
  assertEquals([taken(2), bucket.waitMs], [30, 2000]);
  nowMs += 1999;
  assertEquals(bucket.waitMs, 1);
  nowMs += 1;
  assertEquals(bucket.waitMs, 0);
  nowMs += 3_600_000;
  assertEquals([taken(0), bucket.waitMs], [10, 0]);
});

Deno.test("PacedBucket lets one pass that is larger than all the debt allows, and makes it wait for that long", () => {
  const bucket = new PacedBucket(10, () => 0);
  assert(bucket.take(1000, 1));
  assertEquals(bucket.waitMs, 99_000);
  assert(!bucket.take(1, 1));
});

Deno.test("StreamPacer makes a device's own stream wait, and rejects in a stream of several without a wait", () => {
  const rates = { devicePacketsPerSecond: 10 };
  const device = (): MeteredDevice => ({ meter: undefined });
  const taken = (pacer: StreamPacer, of: MeteredDevice, packets: number) => {
    let taken = 0;
    for (let i = 0; i < packets; i++) if (pacer.take(of, 100)) taken++;
    return taken;
  };
  const alone = StreamPacer.of(rates, undefined, () => 0)!;
  assertEquals([taken(alone, device(), 1000), alone.waitMs], [110, 10_000]);

  const gateway = StreamPacer.of(rates, undefined, () => 0)!;
  assertEquals(taken(gateway, device(), 1), 1);
  assertEquals([taken(gateway, device(), 1000), gateway.waitMs], [20, 0]);
  assertEquals(taken(gateway, device(), 5), 5);
});

Deno.test("StreamPacer.of() is undefined without rates", () => {
  assertEquals(StreamPacer.of({}, undefined, () => 0), undefined);
});

Deno.test("Accounts count the streams of an IPv6 /64 as one address's, and those of an identity apart", () => {
  const limits = { maxStreams: 100, maxStreamsPerAddress: 2, maxStreamsPerIdentity: 1 };
  const accounts = new Accounts(limits, () => 0);
  const peer = (remoteAddress: string) => ({ remoteAddress });
  const opened = [peer("2001:db8::1"), peer("2001:db8::2")].map((one) => accounts.of(one, ""));
  for (const one of opened) {
    assertEquals(accounts.refusal(one), undefined);
    accounts.opened(one);
  }
  const refusal = accounts.refusal(accounts.of(peer("2001:db8::3"), ""));
  assert(refusal instanceof RequestError && refusal.code === "RESOURCE_EXHAUSTED");
  assertEquals(refusal.message.includes("TALLY_MAX_STREAMS_PER_ADDRESS (2)"), true);
  assertEquals(accounts.refusal(accounts.of(peer("2001:db8:0:1::1"), "")), undefined);
  accounts.closed(opened[0]!);
  assertEquals(accounts.refusal(accounts.of(peer("2001:db8::3"), "")), undefined);

  const token = accounts.of(peer("192.0.2.1"), "token 1");
  accounts.opened(token);
  const second = accounts.refusal(accounts.of(peer("192.0.2.2"), "token 1"));
  assertEquals(second?.message.includes("TALLY_MAX_STREAMS_PER_IDENTITY (1)"), true);
  assertEquals(accounts.refusal(accounts.of(peer("192.0.2.2"), "token 2")), undefined);
});

Deno.test("Accounts: auto is three quarters of all streams, and all of them for this machine's own address", () => {
  const accounts = new Accounts({ maxStreams: 100 }, () => 0);
  const maxOf = (remoteAddress: string) => accounts.of({ remoteAddress }, "").address.maxStreams;
  assertEquals(["192.0.2.1", "127.0.0.1", "::1", "::ffff:127.0.0.1"].map(maxOf), [75, 100, 100, 100]);
});

Deno.test("Accounts forget addresses without streams after a minute, and never those with one", () => {
  let nowMs = 0;
  const accounts = new Accounts({ maxStreams: 10, maxStreamsPerAddress: 1 }, () => nowMs);
  const kept = { remoteAddress: "192.0.2.1" };
  accounts.opened(accounts.of(kept, ""));
  for (let i = 0; i < 100_000; i++) {
    nowMs += 10;
    accounts.of({ remoteAddress: `10.${i >> 16}.${i >> 8 & 255}.${i & 255}` }, "");
    assertLessOrEqual(accounts.size, 3 * 6000);
  }
  assert(accounts.refusal(accounts.of({ remoteAddress: "192.0.2.1" }, "")) !== undefined);
  assert(accounts.refusal(accounts.of(kept, "")) !== undefined);
});
