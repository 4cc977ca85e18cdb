/**
 * The part of the stores' contract about limits of devices and sessions.
 *
 * @module
 */
import { assertEquals, assertGreater, assertLessOrEqual } from "@std/assert";

import {
  type Batch,
  type DeviceLimits,
  NEW_SESSION_EXPIRY_MS,
  SESSION_EXPIRY_MS,
  type SessionLimits,
  type Unapplied,
} from "../../src/store/packets.ts";
import type { Store } from "../../src/store/store.ts";
import { advance, batch, countsOf, delta, now } from "../support/batches.ts";
import { minute, type TestStores } from "./parts.ts";

const none = Number.MAX_SAFE_INTEGER;

/** A batch within limits, with one packet of each device. */
function limited(sequence: number, ids: readonly string[], limits: Partial<DeviceLimits>): Batch {
  const devices = ids.map((id) => delta(id, 1));
  return {
    ...batch(sequence, { devices }),
    deviceLimits: { maxDevices: none, maxNewPerMinute: none, ...limits },
  };
}

const refusedIds = (unapplied: Unapplied) =>
  unapplied.map((found) => found.kind === "refused" ? found.deviceId : found.kind);

const numbered = (prefix: string, count: number) => Array.from({ length: count }, (_, i) => `${prefix}${i}`);

/** Registers the tests of limits. */
export function testLimits(test: TestStores): void {
  testDeviceLimits(test);
  testSessionLimits(test);
}

function testDeviceLimits(test: TestStores): void {
  test(
    "apply() refuses new devices above maxDevices, and stores the rest of the batch",
    async (store, other) => {
      const limits = { maxDevices: 3 };
      assertEquals(await store.apply(limited(1, ["a", "b"], limits)), []);
      const { epoch } = await store.claimSession("s", 0, now);
      const mixed = {
        ...limited(2, ["new 1", "a", "new 2", "b", "new 3"], limits),
        sessions: [advance("s", epoch, 0, 5)],
      };
      assertEquals(await store.apply(mixed), [
        { kind: "refused", deviceId: "new 2", limit: "maxDevices" },
        { kind: "refused", deviceId: "new 3", limit: "maxDevices" },
      ]);
      assertEquals(await countsOf(other), { a: 2, b: 2, "new 1": 1 });
      assertEquals((await store.claimSession("s", 0, now)).committed, 5);
      assertEquals(refusedIds(await other.apply({ ...limited(1, ["x"], limits), producer: "q" })), ["x"]);
      // One of which nothing is stored changes nothing else.
      assertEquals(refusedIds(await store.apply(limited(3, ["x", "y"], limits))), ["x", "y"]);
      assertEquals(await store.apply(limited(4, ["a", "b", "new 1"], limits)), []);
      assertEquals(await countsOf(store), { a: 3, b: 3, "new 1": 2 });
    },
  );

  test(
    "apply() returns the same refusal for a repeated batch, though there is room meanwhile",
    async (store, other) => {
      const limits = { maxDevices: 1 };
      await store.apply(limited(1, ["a"], limits));
      const second = limited(2, ["b", "a", "c"], limits);
      const refused = await store.apply(second);
      assertEquals(refusedIds(refused), ["b", "c"]);
      assertEquals(await store.remove("a"), true);
      assertEquals(await other.apply(second), refused);
      assertEquals(await store.apply(second), refused);
      assertEquals(await countsOf(store), {});
      assertEquals(refusedIds(await store.apply(limited(3, ["b", "c"], limits))), ["c"]);
      assertEquals(await store.apply(limited(4, ["b"], limits)), []);
      assertEquals(await store.apply(limited(4, ["b"], limits)), []);
      assertEquals(await countsOf(store), { b: 2 });
    },
  );

  test("apply() counts a removed device that sends again as new", async (store) => {
    const limits = { maxDevices: 2 };
    await store.apply(limited(1, ["a", "b"], limits));
    await store.remove("a");
    assertEquals(refusedIds(await store.apply(limited(2, ["c", "a"], limits))), ["a"]);
    assertEquals(await countsOf(store), { b: 1, c: 1 });
  });

  test("apply() refuses new devices above maxNewPerMinute until the next minute", async (store, other) => {
    const limits = { maxNewPerMinute: 2 }, start = now - now % minute;
    const send = (on: Store, producer: string, sequence: number, atMs: number, ...ids: string[]) =>
      on.apply({ ...limited(sequence, ids, limits), producer, receivedAtMs: atMs });
    assertEquals(refusedIds(await send(store, "p", 1, start, "a")), []);
    assertEquals(await send(other, "q", 1, start + minute - 1, "b", "c"), [
      { kind: "refused", deviceId: "c", limit: "maxNewPerMinute" },
    ]);
    assertEquals(refusedIds(await send(store, "p", 2, start + minute, "a", "c", "d", "e")), ["e"]);
    // It was received in the minute before, and comes late.
    assertEquals(refusedIds(await send(other, "q", 2, start + minute - 1, "f")), ["f"]);
    assertEquals(refusedIds(await send(other, "q", 3, start + 2 * minute, "f")), []);
    assertEquals(Object.keys(await countsOf(store)), ["a", "b", "c", "d", "f"]);
    // The clock was set back: by more than a late batch explains.
    assertEquals(refusedIds(await send(store, "p", 3, start - 1000 * minute, "g", "h", "i")), ["i"]);
  });

  test("apply() refuses the right ones of 5,000 new devices", async (store) => {
    const limits = { maxDevices: 2500 };
    await store.apply(limited(1, numbered("known-", 1500), limits));
    const ids = Array.from({ length: 3000 }, (_, i) => i % 3 === 0 ? `known-${i / 3}` : `new-${i}`);
    const refused = refusedIds(await store.apply(limited(2, ids, limits)));
    assertEquals(refused, ids.filter((id) => id.startsWith("new-")).slice(1000));
    const counts = await countsOf(store);
    assertEquals(Object.keys(counts).length, 2500);
    for (const id of ids) {
      assertEquals(counts[id], refused.includes(id) ? undefined : id.startsWith("k") ? 2 : 1);
    }
  });

  test("apply(): concurrent writers never store more than maxDevices", async (store, other) => {
    const limits = { maxDevices: 50 };
    const accepted = new Set<string>();
    const write = async (on: Store, producer: string) => {
      for (let sequence = 1; sequence <= 20; sequence++) {
        const ids = [...numbered(`${producer} ${sequence} `, 2), producer];
        const refused = refusedIds(await on.apply({ ...limited(sequence, ids, limits), producer }));
        for (const id of ids) if (!refused.includes(id)) accepted.add(id);
      }
    };
    await Promise.all([write(store, "p"), write(other, "q"), write(store, "r"), write(other, "s")]);
    const stored = Object.keys(await countsOf(store));
    assertEquals(stored.length, 50);
    assertEquals(stored.toSorted(), [...accepted].toSorted());
  });
}

function testSessionLimits(test: TestStores): void {
  const limits = (given: Partial<SessionLimits>) => ({ maxSessions: none, mayCreate: true, ...given });
  const refused = (limit: keyof SessionLimits) => (
    { epoch: 0, committed: 0, lost: 0, isNew: true, refused: limit }
  );

  test(
    "claimSession() refuses a new session above maxSessions, and never a known one",
    async (store, other) => {
      const max = limits({ maxSessions: 3 });
      for (const session of ["a", "b", "c"]) {
        const { isNew, epoch, refused } = await store.claimSession(session, 0, now, undefined, max);
        assertEquals([isNew, refused], [true, undefined]);
        assertGreater(epoch, 0);
      }
      assertEquals(await store.claimSession("d", 7, now, undefined, max), refused("maxSessions"));
      assertEquals(await other.claimSession("e", 0, now, undefined, max), refused("maxSessions"));
      const again = await other.claimSession("a", 0, now, undefined, max);
      assertEquals([again.isNew, again.refused], [false, undefined]);
      assertEquals(
        (await store.claimSession("d", 0, now, undefined, limits({ maxSessions: 4 }))).isNew,
        true,
      );
    },
  );

  test("claimSession() with mayCreate false claims known sessions alone, and writes nothing else", async (store) => {
    const mayNot = limits({ mayCreate: false });
    assertEquals(await store.claimSession("a", 0, now, undefined, mayNot), refused("mayCreate"));
    assertEquals((await store.claimSession("a", 0, now, undefined, limits({}))).isNew, true);
    assertEquals((await store.claimSession("a", 3, now, undefined, mayNot)).committed, 3);
  });

  test("claimSession(): concurrent claims of new sessions never exceed maxSessions", async (store, other) => {
    const max = limits({ maxSessions: 40 });
    const claims = await Promise.all(
      numbered("s", 100).map((session, i) =>
        (i % 2 ? store : other).claimSession(session, 0, now, undefined, max)
      ),
    );
    const made = claims.filter(({ refused }) => refused === undefined);
    assertEquals(made.length, 40);
    assertLessOrEqual(NEW_SESSION_EXPIRY_MS, SESSION_EXPIRY_MS / 100);
  });
}
