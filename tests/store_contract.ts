/**
 * What every store must do: run on each by its own test file.
 *
 * @module
 */
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";

import type { Batch, DeviceDelta, SessionAdvance, SessionClaim, Store } from "../src/store/store.ts";
import { forSeeds, type Random } from "./random.ts";

/** An empty place for data; each `open` is a store on it, as of one more process. */
export interface StorePlace extends AsyncDisposable {
  open(): Promise<Store>;
}

/** Registers the contract's tests under `kind`, each in a new place. */
export function testStoreContract(kind: string, makePlace: () => Promise<StorePlace>): void {
  const test = (title: string, body: (store: Store, other: Store) => Promise<void>) =>
    Deno.test(`${kind}: ${title}`, async () => {
      await using place = await makePlace();
      const store = await place.open();
      const other = await place.open();
      try {
        await body(store, other);
      } finally {
        await store.close();
        await other.close();
      }
    });

  test("Packets are added up per device, and seen by another process", async (store, other) => {
    assertEquals(await store.apply(batch(1, { devices: [delta("a", 2), delta("b", 1)] })), []);
    assertEquals(await store.apply(batch(2, { devices: [delta("a", 3)] })), []);
    assertEquals(await countsOf(other), { a: 5, b: 1 });
    assertEquals((await other.device("a"))?.count, 5);
    await other.ping();
  });

  test("A new store has no devices", async (store) => {
    assertEquals(await pagesOf(store), []);
    assertEquals(await store.device("nobody"), undefined);
    assertEquals(await store.remove("nobody"), false);
  });

  test("The greatest timestamp and its payload are kept, the later among equals", async (store) => {
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

  test("First seen stays, last seen never goes back", async (store) => {
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

  test("A batch sent again is applied once", async (store, other) => {
    const { epoch } = claimed(await store.claimSession("s", 0, now));
    const first = batch(1, { devices: [delta("a", 2)], sessions: [advance("s", epoch, 0, 2)] });
    assertEquals(await store.apply(first), []);
    assertEquals(await store.apply(first), []);
    assertEquals(await other.apply(first), []);
    const second = batch(2, { devices: [delta("a", 1)], sessions: [advance("s", epoch, 2, 3)] });
    assertEquals(await store.apply(second), []);
    assertEquals(await store.apply(first), []);
    assertEquals(await countsOf(store), { a: 3 });
    assertEquals(claimed(await store.claimSession("s", 3, now)).committed, 3);
  });

  test("Two producers may use the same sequence", async (store, other) => {
    await store.apply({ ...batch(1, { devices: [delta("a", 1)] }), producer: "p" });
    await other.apply({ ...batch(1, { devices: [delta("a", 1)] }), producer: "q" });
    assertEquals(await countsOf(store), { a: 2 });
  });

  test("An unknown session is believed, and each claim raises its epoch", async (store, other) => {
    assertEquals(await store.claimSession("s", 7, now), { outcome: "claimed", epoch: 1, committed: 7 });
    assertEquals(await other.claimSession("s", 0, now), { outcome: "claimed", epoch: 2, committed: 7 });
    assertEquals(await store.claimSession("s", 7, now), { outcome: "claimed", epoch: 3, committed: 7 });
    assertEquals(claimed(await store.claimSession("t", 0, now)).committed, 0);
  });

  test("An offset above what is committed is a gap and changes nothing", async (store) => {
    const { epoch } = claimed(await store.claimSession("s", 5, now));
    assertEquals(await store.claimSession("s", 6, now), { outcome: "gap", committed: 5 });
    assertEquals(await store.apply(batch(1, { sessions: [advance("s", epoch, 5, 6)] })), []);
    assertEquals(claimed(await store.claimSession("s", 6, now)).epoch, epoch + 1);
  });

  test("A batch of only sessions moves them, and only by what it holds", async (store) => {
    const { epoch } = claimed(await store.claimSession("s", 0, now));
    assertEquals(await store.apply(batch(1, { sessions: [advance("s", epoch, 0, 4)] })), []);
    assertEquals(claimed(await store.claimSession("s", 0, now)).committed, 4);
    assertEquals(await pagesOf(store), []);
  });

  test("A batch of nothing is applied", async (store) => {
    assertEquals(await store.apply(batch(1, {})), []);
    assertEquals(await store.apply(batch(1, { devices: [delta("late", 1)] })), []);
    assertEquals(await pagesOf(store), []);
  });

  test("One fenced session keeps the whole batch out, and its sequence free", async (store, other) => {
    const old = claimed(await store.claimSession("stolen", 0, now)).epoch;
    const mine = claimed(await store.claimSession("mine", 0, now)).epoch;
    const stolen = claimed(await other.claimSession("stolen", 0, now)).epoch;
    assertEquals(
      await store.apply(batch(1, {
        devices: [delta("a", 5)],
        sessions: [
          advance("mine", mine, 0, 3),
          advance("stolen", old, 0, 1),
          advance("unknown", 1, 0, 1),
        ],
      })),
      ["stolen", "unknown"],
    );
    assertEquals(await pagesOf(store), []);

    // The same sequence without them, as the writer sends it next.
    const rest = batch(1, { devices: [delta("a", 3)], sessions: [advance("mine", mine, 0, 3)] });
    assertEquals(await store.apply(rest), []);
    assertEquals(await countsOf(store), { a: 3 });
    assertEquals(
      await other.apply({ ...batch(1, { sessions: [advance("stolen", stolen, 0, 1)] }), producer: "q" }),
      [],
    );
  });

  test("A session is fenced unless it continues where it is", async (store) => {
    const { epoch } = claimed(await store.claimSession("s", 10, now));
    for (const from of [0, 9, 11]) {
      assertEquals(await store.apply(batch(1, { sessions: [advance("s", epoch, from, 20)] })), ["s"]);
    }
    for (const wrong of [epoch - 1, epoch + 1]) {
      assertEquals(await store.apply(batch(1, { sessions: [advance("s", wrong, 10, 20)] })), ["s"]);
    }
    assertEquals(await store.apply(batch(1, { sessions: [advance("s", epoch, 10, 20)] })), []);
  });

  test("A removed device starts anew", async (store, other) => {
    await store.apply({ ...batch(1, { devices: [delta("a", 9, 5000, "old")] }), receivedAtMs: 1000 });
    assertEquals(await other.remove("a"), true);
    assertEquals(await other.remove("a"), false);
    assertEquals(await store.device("a"), undefined);
    assertEquals(await pagesOf(store), []);
    await store.apply({ ...batch(2, { devices: [delta("a", 1, 4000, "new")] }), receivedAtMs: 2000 });
    assertEquals(await other.device("a"), {
      deviceId: "a",
      count: 1,
      firstSeenMs: 2000,
      lastSeenMs: 2000,
      timestampMs: 4000,
      payload: bytes("new"),
    });
  });

  test("Any text is a device, a session or a producer", async (store) => {
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
      const { epoch } = claimed(await store.claimSession(id, 0, now));
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
      assertEquals(claimed(await store.claimSession(id, 0, now)).committed, i + 1, id);
      assertEquals(await store.remove(id), true, id);
    }
  });

  test("A payload is kept byte by byte", async (store) => {
    const all = Uint8Array.from({ length: 256 }, (_, i) => i);
    const large = new Uint8Array(64 * 1024).fill(0x20);
    const inside = new Uint8Array([1, 2, 3, 4, 5, 6]).subarray(2, 5);
    const payloads = [new Uint8Array(), bytes("0 0 0 "), new Uint8Array(3), all, large, inside];
    let sequence = 0;
    for (const payload of payloads) {
      for (const timestampMs of [1, 2]) {
        // The second is older than the first: the first must survive it.
        const devices = [{ deviceId: "a", packets: 1, timestampMs: 3 - timestampMs, payload }];
        await store.apply(batch(++sequence, { devices }));
        const found = await store.device("a");
        assertEquals(found?.payload, Uint8Array.from(payload));
      }
      await store.remove("a");
    }
  });

  test("Large numbers keep every digit", async (store) => {
    const large = 2 ** 52 - 3;
    const year9999 = 253_402_300_799_999;
    const { epoch } = claimed(await store.claimSession("s", large, year9999));
    const first = batch(large, {
      devices: [delta("a", large, large, "x")],
      sessions: [advance("s", epoch, large, large + 1)],
    });
    assertEquals(await store.apply({ ...first, receivedAtMs: year9999 }), []);
    assertEquals(await store.apply(batch(large, { devices: [delta("a", 1)] })), []);
    await store.apply({ ...batch(large + 1, { devices: [delta("a", 2)] }), receivedAtMs: 1 });
    const state = await store.device("a");
    assertEquals(state?.count, large + 2);
    assertEquals(state?.timestampMs, large);
    assertEquals(state?.lastSeenMs, year9999);
    assertEquals(claimed(await store.claimSession("s", 0, now)).committed, large + 1);
    assertEquals(await countsOf(store), { a: large + 2 });
  });

  test("One batch may hold 10,000 devices and 3,000 sessions", async (store) => {
    const sessions = await Promise.all(Array.from({ length: 3000 }, async (_, i) => {
      const { epoch } = claimed(await store.claimSession(`s${i}`, i, now));
      return advance(`s${i}`, epoch, i, i + 5);
    }));
    const devices = Array.from({ length: 10_000 }, (_, i) => delta(`device-${i}`, i + 1, i, `payload ${i}`));
    const wrong = [1, 1000, 2999].map((i) => ({ ...sessions[i]!, epoch: 99 }));
    const withWrong = sessions.map((session) => wrong.find((w) => w.session === session.session) ?? session);
    assertEquals(await store.apply(batch(1, { devices, sessions: withWrong })), wrong.map((w) => w.session));
    assertEquals(await store.apply(batch(1, { devices, sessions })), []);
    assertEquals(await store.apply(batch(2, { devices })), []);

    const pages = await pagesOf(store);
    for (const page of pages) assertLessOrEqual(page.length, 2000);
    const counts = new Map(pages.flat().map(({ deviceId, count }) => [deviceId, count]));
    assertEquals(pages.flat().length, 10_000);
    for (let i = 0; i < 10_000; i++) assertEquals(counts.get(`device-${i}`), 2 * (i + 1));
    assertEquals((await store.device("device-7777"))?.payload, bytes("payload 7777"));
    for (const i of [0, 999, 1000, 2999]) {
      assertEquals(claimed(await store.claimSession(`s${i}`, 0, now)).committed, i + 5);
    }
  });

  test("Devices that come while the counts are read disturb nothing", async (store, other) => {
    const devices = (from: number, to: number) =>
      Array.from({ length: to - from }, (_, i) => delta(`device-${from + i}`, 1));
    await store.apply(batch(1, { devices: devices(0, 3000) }));
    const seen: string[] = [];
    let sequence = 1;
    for await (const page of store.counts()) {
      seen.push(...page.map(({ deviceId }) => deviceId));
      if (sequence < 4) await other.apply(batch(++sequence, { devices: devices(0, 3000 * sequence) }));
    }
    assertEquals(seen.length, new Set(seen).size);
    const missing = devices(0, 3000).filter(({ deviceId }) => !seen.includes(deviceId));
    assertEquals(missing, []);
  });

  test("Writers at once lose nothing", async (store, other) => {
    const write = async (store: Store, producer: string) => {
      for (let sequence = 1; sequence <= 20; sequence++) {
        const { epoch, committed } = claimed(await store.claimSession(producer, sequence - 1, now));
        const sessions = [advance(producer, epoch, committed, committed + 1)];
        const devices = [delta("shared", 1), delta(producer, 1)];
        assertEquals(await store.apply({ ...batch(sequence, { devices, sessions }), producer }), []);
      }
    };
    await Promise.all([write(store, "p"), write(other, "q"), write(store, "r"), write(other, "s")]);
    assertEquals(await countsOf(store), { shared: 80, p: 20, q: 20, r: 20, s: 20 });
  });

  test("Any order of claims, batches and resends agrees with a simple model", async (store, other) => {
    let runs = 0;
    await forSeeds(3, async (random) => {
      const model = new Model(`run ${++runs}`);
      for (let step = 0; step < 300; step++) await model.step(random, random.pick([store, other]));
      await model.compare(store);
    });
  });
}

/** What a store should hold, and what three writers and their streams believe. */
class Model {
  readonly #devices = new Map<string, { count: number; timestampMs: number; payload: Uint8Array }>();
  readonly #sessions = new Map<string, { epoch: number; committed: number }>();
  /** Claims as streams got them; many are out of date. */
  readonly #claims: { session: string; epoch: number; at: number }[] = [];
  readonly #sequences = new Map<string, number>();
  readonly #sent: Batch[] = [];

  constructor(readonly name: string) {}

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

/** A batch of producer "p". */
export function batch(
  sequence: number,
  { devices = [], sessions = [] }: {
    devices?: readonly DeviceDelta[];
    sessions?: readonly SessionAdvance[];
  },
): Batch {
  return { producer: "p", sequence, receivedAtMs: now, devices, sessions };
}

/** What a batch adds to one device. */
export function delta(
  deviceId: string,
  packets: number,
  timestampMs = 1000,
  payload = "payload",
): DeviceDelta {
  return { deviceId, packets, timestampMs, payload: bytes(payload) };
}

/** How far a batch moves one session. */
export function advance(session: string, epoch: number, from: number, to: number): SessionAdvance {
  return { session, epoch, from, to };
}

/** The claim, if it is not a gap. */
export function claimed(claim: SessionClaim): { epoch: number; committed: number } {
  assert(claim.outcome === "claimed", `expected a claim, got a gap at ${claim.committed}`);
  return claim;
}

/** Every device's count. */
export async function countsOf(store: Store): Promise<Record<string, number>> {
  const counts = (await pagesOf(store)).flat().map(({ deviceId, count }) => [deviceId, count] as const);
  return Object.fromEntries(counts.sort(([a], [b]) => a < b ? -1 : 1));
}

/** The time of every test. */
export const now = 1_700_000_000_000;

function pagesOf(store: Store) {
  return Array.fromAsync(store.counts());
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
