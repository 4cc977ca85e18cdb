/**
 * A store in a few maps, to compare the real ones with.
 *
 * @module
 */
import { assert, assertEquals, assertLess } from "@std/assert";

import type { DeviceEvent } from "../../src/store/events.ts";
import type { Period } from "../../src/store/history.ts";
import type { Batch, DeviceDelta, FencedSession, SessionAdvance } from "../../src/store/packets.ts";
import type { Store } from "../../src/store/store.ts";
import { advance, batch, delta, now, pagesOf } from "../support/batches.ts";
import type { Random } from "../support/random.ts";

interface ModelDevice {
  count: number;
  timestampMs: number;
  payload: Uint8Array;
  firstSeenMs: number;
  lastSeenMs: number;
  online: boolean;
  /** Every packet, by the time at which it counts. */
  packets: { atMs: number; packets: number }[];
}

/** What a store should hold, and the state of three writers, their streams and two readers. */
export class StoreModel {
  readonly #devices = new Map<string, ModelDevice>();
  /** Every packet of all devices. */
  readonly #fleet: ModelDevice["packets"] = [];
  readonly #events: Omit<DeviceEvent, "id">[] = [];
  #lastEvent: number | undefined;
  /** Ids changed since each reader's last call, and the version that it returned. */
  readonly #readers: { version: number | undefined; changed: Set<string> }[] = [
    { version: undefined, changed: new Set() },
    { version: undefined, changed: new Set() },
  ];
  #nowMs = now;
  readonly #sessions = new Map<string, { epoch: number; committed: number }>();
  /** Claims as streams got them; many are out of date. */
  readonly #claims: { session: string; epoch: number; at: number }[] = [];
  readonly #sequences = new Map<string, number>();
  readonly #sent: Batch[] = [];

  /** `name` keeps its devices and sessions apart from another model's in the same store. */
  constructor(readonly name: string) {}

  /** Does one random thing to the model and to `store`, which must answer alike. */
  async step(random: Random, store: Store): Promise<void> {
    const kind = random.int(1, 26);
    this.#lastEvent ??= (await store.events(undefined, 1))[0]?.id ?? 0;
    if (kind > 24) {
      await this.#readChanges(random.pick(this.#readers), store);
    } else if (kind > 20) {
      await this.#markOffline(random, store);
    } else if (kind <= 6) {
      const session = `${this.name} session ${random.int(1, 4)}`;
      const offset = random.int(0, 12);
      const known = this.#sessions.get(session);
      const resendable = known !== undefined && random.chance(0.3)
        ? { oldest: random.int(0, offset), epoch: known.epoch }
        : undefined;
      const claimed = await store.claimSession(
        session,
        offset,
        this.#nowMs,
        undefined,
        undefined,
        undefined,
        resendable,
      );
      const { epoch, committed, lost } = claimed;
      assertLess(known?.epoch ?? 0, epoch);
      assertEquals(committed, Math.max(known?.committed ?? 0, resendable?.oldest ?? offset));
      // The time of an unknown session is the model's, not the store's.
      if (known !== undefined) assertEquals(lost, committed - known.committed);
      this.#sessions.set(session, { epoch, committed });
      const claim = { session, epoch, at: committed };
      this.#claims.push(claim);
      // Without, it would expire within minutes, of which a step takes many.
      if (known === undefined) await this.#advance(claim, store);
    } else if (kind <= 9 && this.#sent.length > 0) {
      assertEquals(await store.apply(random.pick(this.#sent)), []);
    } else if (kind <= 10) {
      const deviceId = `${this.name} device ${random.int(1, 6)}`;
      const known = this.#devices.delete(deviceId);
      assertEquals(await store.remove(deviceId), known);
      if (known) this.#changed(deviceId);
    } else {
      await this.#apply(random, store);
    }
  }

  async #advance(claim: { session: string; epoch: number; at: number }, store: Store): Promise<void> {
    const { session, epoch, at } = claim;
    const first = batch(1, { sessions: [advance(session, epoch, at, at + 1)] });
    assertEquals(await store.apply({ ...first, producer: `${session} begun` }), []);
    claim.at++;
    this.#sessions.set(session, { epoch, committed: claim.at });
  }

  #changed(deviceId: string): void {
    for (const { changed } of this.#readers) changed.add(deviceId);
  }

  async #readChanges(reader: { version: number | undefined; changed: Set<string> }, store: Store) {
    const { version, devices } = await store.changes(reader.version);
    if (reader.version === undefined) assertEquals(devices, "all");
    // After version 0, of a store without any change, the first version may be far greater.
    else if (reader.version > 0 || devices !== "all") {
      assertEquals(devices === "all" || new Set(devices.keys()), reader.changed);
      if (devices !== "all") {
        for (const [deviceId, summary] of devices) {
          if (summary !== undefined) assertEquals(await store.summaries([deviceId]), [summary]);
        }
      }
    }
    reader.version = version;
    reader.changed = new Set();
  }

  async #markOffline(random: Random, store: Store): Promise<void> {
    const deviceIds = Array.from({ length: 6 }, (_, i) => `${this.name} device ${i + 1}`)
      .filter(() => random.chance(0.7));
    const beforeMs = this.#nowMs - random.pick([-1, 0, 100, 60_000]);
    let marked = 0;
    for (const deviceId of deviceIds) {
      const device = this.#devices.get(deviceId);
      if (device === undefined || !device.online || device.lastSeenMs >= beforeMs) continue;
      device.online = false;
      this.#events.push({
        kind: "offline",
        deviceId,
        atMs: this.#nowMs,
        lastSeenMs: device.lastSeenMs,
      });
      this.#changed(deviceId);
      marked++;
    }
    assertEquals(await store.markOffline(deviceIds, beforeMs, this.#nowMs), marked);
  }

  /** Mostly a little later, at times much later, at times a clock that is behind. */
  #receivedAtMs(random: Random): number {
    const kind = random.int(1, 20);
    if (kind === 1) return this.#nowMs - random.int(1, 150_000);
    const aheadMs = kind <= 12 ? 300 : kind <= 17 ? 100_000 : kind <= 19 ? 2 * 3_600_000 : 20 * 3_600_000;
    return this.#nowMs += random.int(0, aheadMs);
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
    const fenced = [...sessions.values()].flatMap(({ session, epoch, from }): FencedSession[] => {
      const { epoch: latest, committed } = this.#sessions.get(session)!;
      if (latest === epoch && committed === from) return [];
      return [{ session, kind: latest > epoch ? "superseded" : "reverted", committed }];
    });
    const sent = {
      ...batch(sequence, { devices: [...devices.values()], sessions: [...sessions.values()] }),
      producer,
      previous: sequence - 1,
      receivedAtMs: this.#receivedAtMs(random),
    };
    assertEquals(await store.apply(sent), fenced);
    if (fenced.length > 0) return;

    this.#sent.push(sent);
    this.#sequences.set(producer, sequence);
    for (const { session, epoch, to, claim } of sessions.values()) {
      this.#sessions.set(session, { epoch, committed: to });
      claim.at = to;
    }
    const { receivedAtMs } = sent;
    for (const { deviceId, packets, timestampMs, payload } of devices.values()) {
      const old = this.#devices.get(deviceId);
      const lastSeenMs = Math.max(receivedAtMs, old?.lastSeenMs ?? 0);
      const back = old !== undefined && !old.online && receivedAtMs > old.lastSeenMs;
      if (back) {
        this.#events.push({ kind: "online", deviceId, atMs: receivedAtMs, lastSeenMs: old.lastSeenMs });
      }
      const newest = old !== undefined && old.timestampMs > timestampMs ? old : { timestampMs, payload };
      this.#devices.set(deviceId, {
        timestampMs: newest.timestampMs,
        payload: newest.payload,
        count: (old?.count ?? 0) + packets,
        firstSeenMs: old?.firstSeenMs ?? receivedAtMs,
        lastSeenMs,
        online: back || (old?.online ?? true),
        packets: [...old?.packets ?? [], { atMs: lastSeenMs, packets }],
      });
      this.#fleet.push({ atMs: receivedAtMs, packets });
      this.#changed(deviceId);
    }
  }

  /**
   * Everything the model holds is in `store`, and no more. `fleet`: no other model's packets are in it. `eventOrder`:
   * whether events of different devices have an order too.
   */
  async compare(
    store: Store,
    { fleet, eventOrder }: { fleet: boolean; eventOrder: "all" | "device" },
  ): Promise<void> {
    const mine = ({ deviceId }: { deviceId: string }) => deviceId.startsWith(`${this.name} `);
    const byId = (a: { deviceId: string }, b: { deviceId: string }) =>
      a.deviceId === b.deviceId ? 0 : a.deviceId < b.deviceId ? -1 : 1;
    const scanned = (await pagesOf(store)).flat().filter(mine).sort(byId);
    const expected = [...this.#devices].map(([deviceId, { payload: _, packets: __, ...device }]) => (
      { deviceId, ...device }
    )).sort(byId);
    assertEquals(scanned, expected);
    assertEquals([...await store.summaries([...this.#devices.keys()])].sort(byId), expected);
    for (const [deviceId, { payload, packets }] of this.#devices) {
      const found = await store.device(deviceId);
      assertEquals(found?.payload, payload, deviceId);
      const history = await store.history(deviceId, this.#nowMs);
      assert(history, `${deviceId} has no history`);
      assertEquals(history.minutes, periods(packets, this.#nowMs, 60_000, 60), deviceId);
      assertEquals(history.hours, periods(packets, this.#nowMs, 3_600_000, 24), deviceId);
    }
    for (const reader of this.#readers) await this.#readChanges(reader, store);
    const events = (await store.events(this.#lastEvent, 10_000)).map(({ id: _, ...event }) => event);
    if (eventOrder === "all") {
      assertEquals(inAnyOrderWithinABatch(events), inAnyOrderWithinABatch(this.#events));
    } else assertEquals(events.toSorted(byId), this.#events.toSorted(byId));
    if (!fleet) return;
    const { seconds, minutes, hours } = await store.fleetHistory(this.#nowMs);
    assertEquals(seconds, periods(this.#fleet, this.#nowMs, 1000, 900));
    assertEquals(minutes, periods(this.#fleet, this.#nowMs, 60_000, 60));
    assertEquals(hours, periods(this.#fleet, this.#nowMs, 3_600_000, 24));
  }
}

/** What happened in the `count` periods up to `untilMs`. */
function periods(
  packets: ModelDevice["packets"],
  untilMs: number,
  periodMs: number,
  count: number,
): Period[] {
  return Array.from({ length: count }, (_, i) => {
    const startMs = (Math.floor(untilMs / periodMs) - count + 1 + i) * periodMs;
    const within = packets.filter(({ atMs }) => atMs >= startMs && atMs < startMs + periodMs);
    return { startMs, packets: within.reduce((sum, { packets }) => sum + packets, 0) };
  });
}

/** Those of one moment sorted by device: a store may add the devices of a batch in any order. */
function inAnyOrderWithinABatch(events: readonly Omit<DeviceEvent, "id">[]): Omit<DeviceEvent, "id">[] {
  const moments: Omit<DeviceEvent, "id">[][] = [];
  for (const event of events) {
    const [last] = moments.at(-1) ?? [];
    if (last?.atMs === event.atMs && last.kind === event.kind) moments.at(-1)!.push(event);
    else moments.push([event]);
  }
  return moments.flatMap((each) => each.toSorted((a, b) => a.deviceId < b.deviceId ? -1 : 1));
}
