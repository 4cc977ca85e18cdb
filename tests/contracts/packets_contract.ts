/**
 * The part of the stores' contract about batches and claims of sessions.
 *
 * @module
 */
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";

import type { Store } from "../../src/store/store.ts";
import { advance, batch, bytes, countsOf, delta, now, pagesOf } from "../support/batches.ts";
import type { TestStores } from "./parts.ts";

/** Registers the tests of batches and claims, of a store of so many shards. */
export function testPackets(test: TestStores, shards: number): void {
  test("apply() adds up packets per device, visible to another process", async (store, other) => {
    assertEquals(await store.apply(batch(1, { devices: [delta("a", 2), delta("b", 1)] })), []);
    assertEquals(await store.apply(batch(2, { devices: [delta("a", 3)] })), []);
    assertEquals(await countsOf(other), { a: 5, b: 1 });
    assertEquals((await other.device("a"))?.count, 5);
    await other.ping();
  });

  test("apply() keeps the greatest timestamp and its payload, the later among equals", async (store) => {
    const latest = async () => {
      const state = await store.device("a");
      return [state?.timestampMs, new TextDecoder().decode(state?.payload)];
    };
    await store.apply(batch(1, { devices: [delta("a", 1, 2000, "first")] }));
    assertEquals(await latest(), [2000, "first"]);
    await store.apply(batch(2, { devices: [delta("a", 1, 1999, "older")] }));
    assertEquals(await latest(), [2000, "first"]);
    await store.apply(batch(3, { devices: [delta("a", 1, 2000, "equal")] }));
    assertEquals(await latest(), [2000, "equal"]);
    await store.apply(batch(4, { devices: [delta("a", 1, 10_000, "newer")] }));
    assertEquals(await latest(), [10_000, "newer"]);
    assertEquals((await store.device("a"))?.count, 4);
  });

  test("apply() never changes first seen, and never decreases last seen", async (store) => {
    const seen = async () => {
      const state = await store.device("a");
      return [state?.firstSeenMs, state?.lastSeenMs];
    };
    const at = (sequence: number, receivedAtMs: number) =>
      store.apply({ ...batch(sequence, { devices: [delta("a", 1)] }), receivedAtMs });
    await at(1, 1_700_000_000_000);
    assertEquals(await seen(), [1_700_000_000_000, 1_700_000_000_000]);
    await at(2, 1_700_000_000_500);
    assertEquals(await seen(), [1_700_000_000_000, 1_700_000_000_500]);
    await at(3, 999);
    assertEquals(await seen(), [1_700_000_000_000, 1_700_000_000_500]);
  });

  test("apply() applies a repeated batch once", async (store, other) => {
    const { epoch } = await store.claimSession("s", 0, now);
    const first = batch(1, { devices: [delta("a", 2)], sessions: [advance("s", epoch, 0, 2)] });
    assertEquals(await store.apply(first), []);
    assertEquals(await store.apply(first), []);
    assertEquals(await other.apply(first), []);
    const second = batch(2, { devices: [delta("a", 1)], sessions: [advance("s", epoch, 2, 3)] });
    assertEquals(await store.apply(second), []);
    assertEquals(await store.apply(first), []);
    assertEquals(await countsOf(store), { a: 3 });
    assertEquals((await store.claimSession("s", 3, now)).committed, 3);
  });

  test("apply(): two producers may use the same sequence", async (store, other) => {
    await store.apply({ ...batch(1, { devices: [delta("a", 1)] }), producer: "p" });
    await other.apply({ ...batch(1, { devices: [delta("a", 1)] }), producer: "q" });
    assertEquals(await countsOf(store), { a: 2 });
  });

  test(
    "claimSession() starts an unknown session at the stated offset, and increases the epoch",
    async (store, other) => {
      const first = await store.claimSession("s", 7, now);
      const second = await other.claimSession("s", 0, now);
      const third = await store.claimSession("s", 7, now);
      assertEquals([first, second, third].map(({ committed }) => committed), [7, 7, 7]);
      assert(first.epoch < second.epoch && second.epoch < third.epoch);
      assertEquals((await store.claimSession("t", 0, now)).committed, 0);
    },
  );

  test("claimSession() raises a session to the stated offset, and returns what is lost", async (store) => {
    const { epoch } = await store.claimSession("s", 0, now);
    await store.apply(batch(1, { devices: [delta("a", 5)], sessions: [advance("s", epoch, 0, 5)] }));
    const above = await store.claimSession("s", 8, now);
    assertEquals([above.committed, above.lost], [8, 3]);
    const again = await store.claimSession("s", 6, now);
    assertEquals([again.committed, again.lost], [8, 0]);
    const late = batch(2, { sessions: [advance("s", epoch, 5, 6)] });
    assertEquals(await store.apply(late), [{ session: "s", kind: "superseded", committed: 8 }]);
    const goesOn = batch(2, { devices: [delta("a", 1)], sessions: [advance("s", again.epoch, 8, 9)] });
    assertEquals(await store.apply(goesOn), []);
    assertEquals(await countsOf(store), { a: 6 });
  });

  test(
    "claimSession() of an unknown session continues another, and fences its streams",
    async (store, other) => {
      const { epoch } = await store.claimSession("s", 0, now);
      await store.apply(batch(1, { devices: [delta("a", 5)], sessions: [advance("s", epoch, 0, 5)] }));
      const claims = await Promise.all([
        store.claimSession("me s", 3, now, "s"),
        store.claimSession("you s", 0, now, "s"),
        store.claimSession("me t", 2, now, "t"),
      ]);
      assertEquals(claims.map(({ committed }) => committed), [5, 5, 2]);
      assertEquals(claims[0].lost, 0);
      assert(claims[0].epoch > epoch && claims[1].epoch > epoch);
      const late = batch(2, { devices: [delta("a", 1)], sessions: [advance("s", epoch, 5, 6)] });
      assertEquals(await other.apply(late), [{ session: "s", kind: "superseded", committed: 5 }]);
      const goesOn = batch(2, {
        devices: [delta("a", 2)],
        sessions: [advance("me s", claims[0].epoch, 5, 7)],
      });
      assertEquals(await store.apply(goesOn), []);
      // From now on each has an offset of its own, and "t" was not made.
      const committed = async (...claim: Parameters<Store["claimSession"]>) =>
        (await other.claimSession(...claim)).committed;
      assertEquals(await committed("me s", 0, now, "s"), 7);
      assertEquals(await committed("you s", 0, now, "s"), 5);
      assertEquals(await committed("s", 0, now), 5);
      assertEquals(await committed("t", 0, now), 0);
      assertEquals(await countsOf(store), { a: 7 });
    },
  );

  test("claimSession() of a session that is known continues no other", async (store) => {
    await store.claimSession("me s", 1, now);
    const { epoch } = await store.claimSession("s", 9, now);
    assertEquals((await store.claimSession("me s", 0, now, "s")).committed, 1);
    assertEquals(await store.apply(batch(1, { sessions: [advance("s", epoch, 9, 10)] })), []);
  });

  test("apply() advances the sessions of a batch without devices", async (store) => {
    const { epoch } = await store.claimSession("s", 0, now);
    assertEquals(await store.apply(batch(1, { sessions: [advance("s", epoch, 0, 4)] })), []);
    assertEquals((await store.claimSession("s", 0, now)).committed, 4);
    assertEquals(await pagesOf(store), []);
  });

  test("apply() accepts an empty batch", async (store) => {
    assertEquals(await store.apply(batch(1, {})), []);
    assertEquals(await store.apply(batch(1, { devices: [delta("late", 1)] })), []);
    assertEquals(await pagesOf(store), []);
  });

  test(
    "apply() writes nothing of a batch with a fenced session, and does not use up its sequence",
    async (store, other) => {
      const old = (await store.claimSession("stolen", 0, now)).epoch;
      const mine = (await store.claimSession("mine", 0, now)).epoch;
      const stolen = (await other.claimSession("stolen", 0, now)).epoch;
      const whole = batch(1, {
        devices: [delta("a", 5)],
        sessions: [
          advance("mine", mine, 0, 3),
          advance("stolen", old, 0, 1),
          advance("unknown", 1, 0, 1),
        ],
      });
      // "unknown" was forgotten alone: the producer has applied no batch that could be missing.
      assertEquals(await store.apply(whole), [
        { session: "stolen", kind: "superseded", committed: 0 },
        { session: "unknown", kind: "reverted", committed: 0 },
      ]);
      assertEquals(await pagesOf(store), []);

      // The same sequence without them, as the writer sends it next.
      const rest = batch(1, { devices: [delta("a", 3)], sessions: [advance("mine", mine, 0, 3)] });
      assertEquals(await store.apply(rest), []);
      assertEquals(await countsOf(store), { a: 3 });
      assertEquals(
        await other.apply({ ...batch(1, { sessions: [advance("stolen", stolen, 0, 1)] }), producer: "q" }),
        [],
      );

      // A copy of the first attempt that was on its way all the time: one for each shard, which replies to it.
      const late = await other.apply(whole);
      if (shards === 1) assertEquals(late, []);
      assertEquals(await countsOf(store), { a: 3 });
    },
  );

  test("apply() changes nothing for a batch of a superseded stream", async (store, other) => {
    const first = await store.claimSession("s", 0, now);
    const late = batch(1, { devices: [delta("a", 2)], sessions: [advance("s", first.epoch, 0, 2)] });
    const second = await other.claimSession("s", 0, now);
    const again = batch(1, { devices: [delta("a", 2)], sessions: [advance("s", second.epoch, 0, 2)] });
    assertEquals(await other.apply({ ...again, producer: "q" }), []);
    assertEquals(await store.apply(late), [{ session: "s", kind: "superseded", committed: 2 }]);
    assertEquals(await other.apply({ ...again, producer: "q" }), []);
    assertEquals(await countsOf(store), { a: 2 });
  });

  test("apply() fences a session whose offset differs from its stream's, and returns the stored one", async (store) => {
    const { epoch } = await store.claimSession("s", 10, now);
    const fenced = (kind: "superseded" | "reverted", committed = 10, session = "s") => [
      { session, kind, committed },
    ];
    for (const from of [0, 9, 11]) {
      const sent = batch(1, { sessions: [advance("s", epoch, from, 20)] });
      assertEquals(await store.apply(sent), fenced("reverted"));
    }
    const older = batch(1, { sessions: [advance("s", epoch - 1, 10, 20)] });
    assertEquals(await store.apply(older), fenced("superseded"));
    const newer = batch(1, { sessions: [advance("s", epoch + 1, 10, 20)] });
    assertEquals(await store.apply(newer), fenced("reverted"));
    assertEquals(await store.apply(batch(1, { sessions: [advance("s", epoch, 10, 20)] })), []);

    // Missing: with the producer's last batch there, it alone is; without, all that was stored is.
    const unknown = [advance("unknown", epoch, 7, 8)];
    const known = await store.apply(batch(2, { sessions: unknown }));
    assertEquals(known, fenced("reverted", 7, "unknown"));
    const again = await store.claimSession("unknown", 0, now);
    assertEquals([again.committed, again.lost], [7, 0]);
    const sessions = [advance("gone", epoch, 7, 8)];
    const gone = await store.apply({ ...batch(4, { sessions }), previous: 3 });
    assertEquals(gone, fenced("reverted", 0, "gone"));
  });

  test("apply() accepts any text as device, session and producer", async (store) => {
    const ids = [
      "with space",
      "  ",
      `"quoted" 'too'`,
      "back\\slash",
      "{brace}",
      "température/°C",
      "センサー-1",
      "🌡️",
      "__proto__",
      "constructor",
      "0",
      "-1e9",
      "%s%d?*",
      "'; DROP TABLE devices; --",
      "x".repeat(128),
      "ÿ".repeat(64),
    ];
    for (const [i, id] of ids.entries()) {
      const { epoch } = await store.claimSession(id, 0, now);
      const sessions = [advance(id, epoch, 0, i + 1)];
      assertEquals(
        await store.apply({ ...batch(1, { devices: [delta(id, i + 1)], sessions }), producer: id }),
        [],
      );
    }
    const counts = new Map((await pagesOf(store)).flat().map(({ deviceId, count }) => [deviceId, count]));
    assertEquals(counts.size, ids.length);
    for (const [i, id] of ids.entries()) {
      assertEquals(counts.get(id), i + 1, id);
      assertEquals((await store.device(id))?.deviceId, id);
      assertEquals((await store.claimSession(id, 0, now)).committed, i + 1, id);
      assertEquals(await store.remove(id), true, id);
    }
  });

  test("apply() keeps every digit of large numbers", async (store) => {
    const large = 2 ** 52 - 3;
    const year9999 = 253_402_300_799_999;
    const { epoch } = await store.claimSession("s", large, year9999);
    const first = batch(large, {
      devices: [delta("a", large, large, "x")],
      sessions: [advance("s", epoch, large, large + 1)],
    });
    assertEquals(await store.apply({ ...first, receivedAtMs: year9999 }), []);
    assertEquals(await store.apply(batch(large, { devices: [delta("a", 1)] })), []);
    const state = await store.device("a");
    assertEquals(state?.timestampMs, large);
    assertEquals(state?.lastSeenMs, year9999);
    await store.apply({ ...batch(large + 1, { devices: [delta("a", 2)] }), receivedAtMs: 1 });
    assertEquals((await store.device("a"))?.count, large + 2);
    assertEquals((await store.claimSession("s", 0, now)).committed, large + 1);
    assertEquals(await countsOf(store), { a: large + 2 });
  });

  test("apply() accepts a batch of 10,000 devices and 3,000 sessions", async (store) => {
    const sessions = await Promise.all(Array.from({ length: 3000 }, async (_, i) => {
      const { epoch } = await store.claimSession(`s${i}`, i, now);
      return advance(`s${i}`, epoch, i, i + 5);
    }));
    const devices = Array.from({ length: 10_000 }, (_, i) => delta(`device-${i}`, i + 1, i, `payload ${i}`));
    const wrong = [1, 1000, 2999].map((i) => ({ ...sessions[i]!, epoch: 99 }));
    const withWrong = sessions.map((session) => wrong.find((w) => w.session === session.session) ?? session);
    const fenced = await store.apply(batch(1, { devices, sessions: withWrong }));
    assertEquals(
      fenced.map((found) => found.kind !== "refused" && [found.session, found.kind]),
      wrong.map((w) => [w.session, "superseded"]),
    );
    assertEquals(await store.apply(batch(1, { devices, sessions })), []);
    assertEquals(await store.apply(batch(2, { devices })), []);

    const pages = await pagesOf(store);
    for (const page of pages) assertLessOrEqual(page.length, 2000);
    const counts = new Map(pages.flat().map(({ deviceId, count }) => [deviceId, count]));
    assertEquals(pages.flat().length, 10_000);
    for (let i = 0; i < 10_000; i++) assertEquals(counts.get(`device-${i}`), 2 * (i + 1));
    assertEquals((await store.device("device-7777"))?.payload, bytes("payload 7777"));
    for (const i of [0, 999, 1000, 2999]) {
      assertEquals((await store.claimSession(`s${i}`, 0, now)).committed, i + 5);
    }
  });

  test("apply(): concurrent writers lose nothing", async (store, other) => {
    const write = async (store: Store, producer: string) => {
      for (let sequence = 1; sequence <= 20; sequence++) {
        const { epoch, committed } = await store.claimSession(producer, sequence - 1, now);
        const sessions = [advance(producer, epoch, committed, committed + 1)];
        const devices = [delta("shared", 1), delta(producer, 1)];
        assertEquals(await store.apply({ ...batch(sequence, { devices, sessions }), producer }), []);
      }
    };
    await Promise.all([write(store, "p"), write(other, "q"), write(store, "r"), write(other, "s")]);
    assertEquals(await countsOf(store), { shared: 80, p: 20, q: 20, r: 20, s: 20 });
  });
}
