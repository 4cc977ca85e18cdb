/**
 * What every store must do when its data was reverted to an earlier state, by a backup or by a loss of its end,
 * or was emptied.
 *
 * @module
 */
import { assert, assertEquals, assertLess } from "@std/assert";

import type { FencedSession } from "../../src/store/packets.ts";
import type { Store } from "../../src/store/store.ts";
import { advance, batch as oldBatch, countsOf, delta } from "../support/batches.ts";
import type { StorePlace } from "./store_contract.ts";

/** Registers the tests under `kind`, each in a new place. */
export function testReverts(kind: string, makePlace: () => Promise<StorePlace>): void {
  const test = (title: string, body: (place: StorePlace) => Promise<void>) =>
    Deno.test(`${kind}: ${title}`, async () => {
      await using place = await makePlace();
      await body(place);
    });
  /** Claims have the time of their process, and the store's data begins now. */
  const nowMs = Date.now();
  const batch = (...args: Parameters<typeof oldBatch>) => ({ ...oldBatch(...args), receivedAtMs: nowMs });

  test("apply() returns the stored offset of a session after the store was restored", async (place) => {
    let epoch = 0;
    await withStore(place, async (store) => {
      ({ epoch } = await store.claimSession("s", 0, nowMs));
      await store.apply(batch(1, { devices: [delta("a", 3)], sessions: [advance("s", epoch, 0, 3)] }));
    });
    const putBack = await place.snapshot();
    let later = 0;
    await withStore(place, async (store) => {
      await store.apply(batch(2, { devices: [delta("a", 4)], sessions: [advance("s", epoch, 3, 7)] }));
      later = (await store.claimSession("t", 0, nowMs)).epoch;
      await store.apply(batch(3, { devices: [delta("a", 2)], sessions: [advance("t", later, 0, 2)] }));
    });
    await putBack();
    await withStore(place, async (store) => {
      const next = batch(4, {
        devices: [delta("a", 2)],
        sessions: [advance("s", epoch, 7, 8), advance("t", later, 2, 3)],
      });
      const fenced: FencedSession[] = [
        { session: "s", kind: "reverted", committed: 3 },
        { session: "t", kind: "reverted", committed: 0 },
      ];
      assertEquals(await store.apply(next), fenced);
      assertEquals(await countsOf(store), { a: 3 });

      // The clients continue: one from what the store holds, one from what it was acknowledged.
      const s = await store.claimSession("s", 3, nowMs);
      assertEquals([s.committed, s.lost], [3, 0]);
      const t = await store.claimSession("t", 2, nowMs);
      assertEquals([t.committed, t.lost], [2, 2]);
      assertLess(later, t.epoch);
      const resent = batch(4, {
        devices: [delta("a", 5), delta("b", 1)],
        sessions: [advance("s", s.epoch, 3, 8), advance("t", t.epoch, 2, 3)],
      });
      assertEquals(await store.apply(resent), []);
      assertEquals(await countsOf(store), { a: 8, b: 1 });
    });
  });

  test("apply() fences an older stream as superseded, also after the store was restored", async (place) => {
    await withStore(place, (store) => store.claimSession("s", 0, nowMs));
    const putBack = await place.snapshot();
    const before = await withStore(place, (store) => store.claimSession("s", 0, nowMs));
    await putBack();
    await withStore(place, async (store) => {
      const after = await store.claimSession("s", 0, nowMs);
      assertLess(before.epoch, after.epoch);
      const sessions = [advance("s", before.epoch, 0, 1)];
      assertEquals(await store.apply(batch(1, { sessions })), [
        { session: "s", kind: "superseded", committed: 0 },
      ]);
    });
  });

  test("changes() requires a scan after the store was restored, for any progress since", async (place) => {
    const write = async (store: Store, from: number, to: number, device: string) => {
      for (let i = from; i <= to; i++) await store.apply(batch(i, { devices: [delta(device, 1)] }));
    };
    await withStore(place, (store) => write(store, 1, 3, "a"));
    const putBack = await place.snapshot();
    let version = 0;
    await withStore(place, async (store) => {
      await write(store, 4, 6, "lost");
      ({ version } = await store.changes());
    });
    await putBack();
    await withStore(place, async (store) => {
      assertEquals((await store.changes(version)).devices, "all");
      await write(store, 7, 12, "b");
      const now = await store.changes(version);
      assertEquals(now.devices, "all");
      assertLess(version, now.version);
      assertEquals((await store.changes(now.version)).devices, new Map());
    });
  });

  test("apply() and changes() report all sessions and changes of an emptied store as lost", async (place) => {
    const empty = await place.snapshot();
    let epoch = 0, version = 0;
    await withStore(place, async (store) => {
      ({ epoch } = await store.claimSession("s", 0, nowMs));
      await store.apply(batch(1, { devices: [delta("a", 3)], sessions: [advance("s", epoch, 0, 3)] }));
      ({ version } = await store.changes());
    });
    await empty();
    await withStore(place, async (store) => {
      assertEquals((await store.changes(version)).devices, "all");
      const sessions = [advance("s", epoch, 3, 4)];
      assertEquals(await store.apply(batch(2, { devices: [delta("a", 1)], sessions })), [
        { session: "s", kind: "reverted", committed: 0 },
      ]);
      const claim = await store.claimSession("s", 2, nowMs);
      assertEquals([claim.committed, claim.lost], [2, 2]);
      assert(claim.epoch > epoch);
      const resent = [advance("s", claim.epoch, 2, 4)];
      assertEquals(await store.apply(batch(2, { devices: [delta("a", 2)], sessions: resent })), []);
      assertEquals(await countsOf(store), { a: 2 });
      assertEquals((await store.changes(version)).devices, "all");
    });
  });
}

/** Opens a store for `body`, and closes it. */
export async function withStore<T>(place: StorePlace, body: (store: Store) => Promise<T>): Promise<T> {
  const store = await place.open();
  try {
    return await body(store);
  } finally {
    await store.close();
  }
}
