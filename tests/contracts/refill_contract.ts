/**
 * What every store must do with a claim whose client can send acknowledged packets again.
 *
 * @module
 */
import { assertEquals } from "@std/assert";

import type { Resendable } from "../../src/store/packets.ts";
import type { Store } from "../../src/store/store.ts";
import { advance, batch, delta } from "../support/batches.ts";
import { withStore } from "./reverts_contract.ts";
import type { StorePlace } from "./store_contract.ts";

/** Registers the tests under `kind`, each in a new place. */
export function testRefills(
  kind: string,
  makePlace: () => Promise<StorePlace>,
  { seesAllBatches }: { seesAllBatches: boolean },
): void {
  const test = (title: string, body: (place: StorePlace) => Promise<void>) =>
    Deno.test(`${kind}: claimSession() with packets to send again ${title}`, async () => {
      await using place = await makePlace();
      await body(place);
    });
  const nowMs = Date.now();
  let sequence = 0;
  /** Stores packets `from` to `to` of a session, with a claim of their own; returns its epoch. */
  const store = async (store: Store, session: string, from: number, to: number) => {
    const { epoch } = await store.claimSession(session, from, nowMs);
    const devices = [delta("a", to - from)], sessions = [advance(session, epoch, from, to)];
    // Of a process of its own: it has no batch before that.
    const producer = { producer: crypto.randomUUID(), previous: 0, receivedAtMs: Date.now() };
    assertEquals(await store.apply({ ...batch(++sequence, { devices, sessions }), ...producer }), []);
    return epoch;
  };
  const claim = async (store: Store, session: string, offset: number, resendable: Resendable) => {
    const { committed, lost } = await store.claimSession(
      session,
      offset,
      nowMs,
      undefined,
      undefined,
      undefined,
      resendable,
    );
    return [committed, lost];
  };

  test("goes back to what a restored store holds, or as far as the client can", async (place) => {
    await withStore(place, async (it) => {
      await store(it, "s", 0, 3);
      await store(it, "t", 0, 3);
    });
    const putBack = await place.snapshot();
    const epochs = await withStore(
      place,
      async (it) => [await store(it, "s", 3, 9), await store(it, "t", 3, 9)],
    );
    await putBack();
    await withStore(place, async (it) => {
      assertEquals(await claim(it, "s", 9, { oldest: 1, epoch: epochs[0]! }), [3, 0]);
      assertEquals(await claim(it, "t", 9, { oldest: 5, epoch: epochs[1]! }), [5, 2]);
      // Known is known: what was sent again since is not lost.
      assertEquals(await claim(it, "t", 5, { oldest: 5, epoch: epochs[1]! }), [5, 0]);
    });
  });

  test("starts an unknown session there in a store that was emptied", async (place) => {
    const empty = await place.snapshot();
    const epoch = await withStore(place, (it) => store(it, "s", 0, 9));
    await empty();
    await withStore(place, async (it) => {
      // Another device was first.
      await it.claimSession("t", 0, nowMs);
      assertEquals(await claim(it, "s", 9, { oldest: 5, epoch }), [5, 5]);
      assertEquals(await claim(it, "u", 9, { oldest: 0, epoch }), [0, 0]);
    });
  });

  test("starts it there in a store that was restored to before the session, also when others were first", async (place) => {
    await withStore(place, (it) => store(it, "old", 0, 3));
    const putBack = await place.snapshot();
    // More than the clocks of the store and its callers may differ.
    await new Promise((resolve) => setTimeout(resolve, 1100));
    const [s, t] = await withStore(
      place,
      async (it) => [await store(it, "s", 0, 9), await store(it, "t", 0, 9)],
    );
    await putBack();
    await withStore(place, async (it) => {
      const claimed = await claim(it, "s", 9, { oldest: 4, epoch: s! });
      // One of several shards cannot distinguish this from a session that was evicted: it counts nothing twice.
      assertEquals(claimed, seesAllBatches ? [4, 4] : [9, 9]);
      if (!seesAllBatches) return;
      await store(it, "another", 0, 1);
      assertEquals(await claim(it, "t", 9, { oldest: 2, epoch: t! }), [2, 2]);
    });
  });

  test("starts it at the offset when the store has not lost it", async (place) => {
    await withStore(place, async (it) => {
      // Every shard has had a session before.
      for (let i = 0; i < 12; i++) await store(it, `other ${i}`, 0, 1);
      const epoch = await store(it, "s", 0, 9);
      // As of a session that expired, or was evicted: all that was stored is there.
      assertEquals((await claim(it, "t", 9, { oldest: 0, epoch }))[0], 9);
      const last = await store(it, "s", 9, 12);
      assertEquals((await claim(it, "u", 9, { oldest: 0, epoch: last }))[0], 9);
      assertEquals(await claim(it, "s", 12, { oldest: 0, epoch }), [12, 0]);
    });
  });
}
