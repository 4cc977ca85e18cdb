/**
 * A store in a few maps, to compare the real ones with.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";

import type { Batch, DeviceDelta, SessionAdvance, SessionClaim, Store } from "../src/store/store.ts";
import { advance, batch, delta, now, pagesOf } from "./batches.ts";
import type { Random } from "./random.ts";

/** What a store should hold, and what three writers and their streams believe. */
export class StoreModel {
  readonly #devices = new Map<string, { count: number; timestampMs: number; payload: Uint8Array }>();
  readonly #sessions = new Map<string, { epoch: number; committed: number }>();
  /** Claims as streams got them; many are out of date. */
  readonly #claims: { session: string; epoch: number; at: number }[] = [];
  readonly #sequences = new Map<string, number>();
  readonly #sent: Batch[] = [];

  /** `name` keeps its devices and sessions apart from another model's in the same store. */
  constructor(readonly name: string) {}

  /** Does one random thing to the model and to `store`, which must answer alike. */
  async step(random: Random, store: Store): Promise<void> {
    const kind = random.int(1, 20);
    if (kind <= 6) {
      const session = `${this.name} session ${random.int(1, 4)}`;
      const offset = random.int(0, 12);
      const known = this.#sessions.get(session);
      const expected: SessionClaim = known !== undefined && offset > known.committed
        ? { outcome: "gap", committed: known.committed }
        : { outcome: "claimed", epoch: (known?.epoch ?? 0) + 1, committed: known?.committed ?? offset };
      assertEquals(await store.claimSession(session, offset, now), expected);
      if (expected.outcome === "claimed") {
        const { epoch, committed } = expected;
        this.#sessions.set(session, { epoch, committed });
        this.#claims.push({ session, epoch, at: committed });
      }
    } else if (kind <= 9 && this.#sent.length > 0) {
      assertEquals(await store.apply(random.pick(this.#sent)), []);
    } else if (kind <= 10) {
      const deviceId = `${this.name} device ${random.int(1, 6)}`;
      assertEquals(await store.remove(deviceId), this.#devices.delete(deviceId));
    } else {
      await this.#apply(random, store);
    }
  }

  async #apply(random: Random, store: Store): Promise<void> {
    const producer = `${this.name} producer ${random.int(1, 3)}`;
    const sequence = (this.#sequences.get(producer) ?? 0) + 1;
    const devices = new Map<string, DeviceDelta>();
    for (let i = random.int(0, 3); i > 0; i--) {
      const id = `${this.name} device ${random.int(1, 6)}`;
      devices.set(id, delta(id, random.int(1, 5), random.int(0, 9), `${producer} ${sequence}`));
    }
    const sessions = new Map<string, SessionAdvance & { claim: { at: number } }>();
    for (let i = random.int(0, 2); i > 0 && this.#claims.length > 0; i--) {
      // Recent claims, so that many batches are taken.
      const claim = random.pick(this.#claims.slice(-6));
      const { session, epoch, at } = claim;
      sessions.set(session, { ...advance(session, epoch, at, at + random.int(1, 3)), claim });
    }
    const fenced = [...sessions.values()].filter(({ session, epoch, from }) => {
      const known = this.#sessions.get(session);
      return known?.epoch !== epoch || known.committed !== from;
    });
    const sent = {
      ...batch(sequence, { devices: [...devices.values()], sessions: [...sessions.values()] }),
      producer,
    };
    assertEquals(await store.apply(sent), fenced.map(({ session }) => session));
    if (fenced.length > 0) return;

    this.#sent.push(sent);
    this.#sequences.set(producer, sequence);
    for (const { session, epoch, to, claim } of sessions.values()) {
      this.#sessions.set(session, { epoch, committed: to });
      claim.at = to;
    }
    for (const { deviceId, packets, timestampMs, payload } of devices.values()) {
      const old = this.#devices.get(deviceId);
      const newest = old !== undefined && old.timestampMs > timestampMs ? old : { timestampMs, payload };
      this.#devices.set(deviceId, { ...newest, count: (old?.count ?? 0) + packets });
    }
  }

  /** Everything the model holds is in `store`, and no more. */
  async compare(store: Store): Promise<void> {
    const counts = (await pagesOf(store)).flat().filter(({ deviceId }) => deviceId.startsWith(this.name));
    assertEquals(counts.length, this.#devices.size);
    for (const [deviceId, { count, timestampMs, payload }] of this.#devices) {
      const found = await store.device(deviceId);
      assert(found, `${deviceId} is missing`);
      assertEquals([found.count, found.timestampMs, found.payload], [count, timestampMs, payload], deviceId);
    }
  }
}
