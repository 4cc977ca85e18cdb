/**
 * Devices, two ingests and a store in every order that chance produces, and what must be true of their counts.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { setTimeout as delay } from "node:timers/promises";

import { status } from "@grpc/grpc-js";
import { assert, assertEquals, assertLess, assertLessOrEqual } from "@std/assert";

import { grpcStatus } from "../../src/ingest/rpc/grpc_status.ts";
import { CallContext } from "../../src/ingest/stream/call_context.ts";
import type { CallResponse, ClaimedSession } from "../../src/ingest/stream/call_response.ts";
import { DeviceStream, type StreamKind } from "../../src/ingest/stream/device_stream.ts";
import type { Ack } from "../../src/protocol/messages.ts";
import { streamBatches, streamPackets } from "../../src/protocol/telemetry_proto.ts";
import { StoreError } from "../../src/store/store_error.ts";
import type { Random } from "../support/random.ts";
import { ModelDevice } from "./model_device.ts";
import { ModelIngest } from "./model_ingest.ts";
import { contents, deviceOf, ModelStore, sorted } from "./session_model.ts";

/** The model has neither peers nor metadata. */
export const noContext = () => new CallContext({}, { session: undefined, offset: undefined });

const SESSIONS = ["s1", "s2", "s3"];

/** One stream as its device sees it. */
class ModelCall implements CallResponse {
  readonly stream: DeviceStream;
  #ready = false;
  #waiting = false;
  /** Index of the call's first packet, and of the next. */
  #first: number;
  #next: number;
  #claimed = 0;
  #settled: number;
  readonly #anonymous = `anonymous-${crypto.randomUUID()}`;
  ended = false;

  constructor(
    readonly world: World,
    readonly where: ModelIngest,
    readonly device: ModelDevice | undefined,
    offset: number,
    readonly kind: StreamKind,
  ) {
    this.#first = this.#next = this.#settled = offset;
    const start = device?.start(offset) ?? { session: undefined, offset };
    device?.calls(this);
    this.stream = new DeviceStream(where.ingest, kind, start, noContext(), this);
    if (device === undefined) this.#ready = true;
    else this.stream.claimSession().then(() => this.#ready = true);
  }

  /** Sends up to `end`, if the server reads. */
  send(end: number): void {
    if (!this.#ready || this.#waiting || !this.stream.reading) return;
    const { queue } = this.where.ingest;
    if (queue.full) {
      this.#waiting = true;
      return queue.waitForRoom(() => {
        this.#waiting = false;
        this.send(end);
      });
    }
    const to = this.kind === "packets" ? Math.min(end, this.#next + 1) : end;
    const packets = Array.from({ length: Math.max(0, to - this.#next) }, (_, i) => ({
      device_id: this.device === undefined ? this.#anonymous : deviceOf(this.device.session, this.#next + i),
      timestamp: 0,
      payload: new Uint8Array(2),
    }));
    if (packets.length === 0) return;
    const message = this.kind === "packets"
      ? streamPackets.requestSerialize(packets[0]!)
      : streamBatches.requestSerialize({ packets });
    this.#next = to;
    if (this.device !== undefined) this.device.sent = Math.max(this.device.sent, to);
    this.stream.message(Buffer.from(message), 0, message.length);
  }

  /** Half-closes. */
  halfClose(): void {
    if (this.#ready && !this.#waiting) this.stream.end();
  }

  end(error: unknown, committed: number): void {
    assert(!this.ended, "a call ends once");
    this.ended = true;
    if (error === undefined) {
      assertEquals(this.#settled, this.#next, "a call ends well when all is settled");
      if (this.device === undefined) this.world.finished.set(this.#anonymous, this.#next);
    } else {
      this.#settledBy(committed, true);
      const { code, details } = grpcStatus(error);
      if (code === status.ABORTED) {
        this.world.aborted++;
        const latest = this.world.store.latestEpoch.get(this.device!.session)!;
        assertLess(this.stream.claim!.epoch, latest, "no newer stream has the session");
      }
      if (details.startsWith("the store went back")) {
        assert(
          this.world.store.reported.has(`${this.device!.session} ${committed}`),
          "the store holds another number",
        );
      }
    }
  }

  sendHeaders(claimed: ClaimedSession): void {
    const { committed } = claimed;
    assert(
      committed >= this.#first || typeof this.device!.keeping === "number",
      "only a device that keeps goes back",
    );
    this.#claimed = committed;
    this.#first = this.#next = this.#settled = Math.min(this.#first, committed);
    this.world.assertHeld(this.device!, committed);
    this.device!.claimed(this, claimed);
  }

  sendAck({ stored, duplicates, rejected, committed }: Ack): boolean {
    assert(!this.ended, "no Ack comes after the end");
    const settled = this.#first + stored + duplicates + rejected;
    assertEquals(committed, Math.max(this.#claimed, settled));
    assertLessOrEqual(settled, this.#next);
    this.#settled = settled;
    this.#settledBy(committed, false);
    return true;
  }

  #settledBy(committed: number, isTrailers: boolean): void {
    if (this.device === undefined) return;
    this.world.assertHeld(this.device, committed);
    this.device.settled(this, committed, isTrailers);
  }
}

/** Three sessions whose devices open streams all the time, and what may happen to them. */
export class World {
  readonly store = new ModelStore();
  readonly #everyIngest: ModelIngest[] = [];
  readonly #ingests: ModelIngest[];
  readonly #ending: Promise<void>[] = [];
  readonly #late: (() => unknown)[] = [];
  #calls: ModelCall[] = [];
  readonly #devices: readonly ModelDevice[];
  /** Whether the store goes back at times. */
  readonly #goesBack: boolean;
  /** Packets of each call without a session that ended with OK. */
  readonly finished = new Map<string, number>();
  /** Calls that ended because a newer one has their session. */
  aborted = 0;

  constructor(readonly random: Random) {
    this.#ingests = [this.#newIngest(), this.#newIngest()];
    this.#devices = SESSIONS.map((session) => new ModelDevice(session, random));
    this.#goesBack = random.chance(0.6);
  }

  /** A device has an Ack for the packets below `committed`: the store must hold them, or have held them before it went back. */
  assertHeld({ session }: ModelDevice, committed: number): void {
    const { highest, reverts, sessions } = this.store;
    const known = reverts > 0 ? highest.get(session) : sessions.get(session)?.committed;
    assertLessOrEqual(committed, known ?? 0);
  }

  async run(): Promise<number> {
    const steps = this.random.int(50, 120);
    for (let step = 0; step < steps; step++) await this.#step();
    await this.#heal();
    return steps;
  }

  async #step(): Promise<void> {
    const { random, store } = this;
    const kind = random.int(1, 100);
    if (kind <= 12) this.#open();
    else if (kind <= 45 && this.#calls.length > 0) {
      const call = random.pick(this.#calls);
      call.send((call.device?.sent ?? 0) + random.int(0, 5));
    } else if (kind <= 50 && this.#calls.length > 0) random.pick(this.#calls).halfClose();
    else if (kind <= 53 && this.#calls.length > 0) {
      const [call] = this.#calls.splice(random.int(0, this.#calls.length - 1), 1);
      call!.stream.cancelled();
    } else if (kind <= 80 && store.calls.length > 0) this.#answer();
    else if (kind <= 83 && this.#late.length > 0) {
      this.#late.splice(random.int(0, this.#late.length - 1), 1)[0]!();
    } else if (kind <= 85) this.#replaceIngest();
    else if (kind <= 87 && this.#goesBack) store.takeSnapshot();
    else if (kind <= 89 && this.#goesBack) store.revert(random);
    else await delay(random.int(0, 3));
    // The store's replies, and what follows from them, arrive.
    await Promise.resolve();
    this.#calls = this.#calls.filter(({ ended }) => !ended);
  }

  #open(): void {
    const { random } = this;
    const device = random.chance(0.15) ? undefined : random.pick(this.#devices);
    const acknowledged = device?.acknowledged ?? 0;
    const offset = device !== undefined && random.chance(0.3) ? random.int(0, acknowledged) : acknowledged;
    this.#calls.push(
      new ModelCall(this, random.pick(this.#ingests), device, offset, random.pick(["packets", "batches"])),
    );
  }

  /** One call of the store, not always the oldest, is carried out and replied to, or one of the two, or neither. */
  #answer(): void {
    const { random, store } = this;
    const [{ run, resolve, reject }] = store.calls.splice(random.int(0, store.calls.length - 1), 1) as [
      typeof store.calls[number],
    ];
    const fate = random.int(1, 10);
    if (fate <= 7) return resolve(run());
    if (fate === 8) run();
    if (fate === 9) this.#late.push(run);
    reject(new StoreError("the model lost the reply"));
  }

  #newIngest(): ModelIngest {
    const ingest = new ModelIngest(this.store, this.random);
    this.#everyIngest.push(ingest);
    return ingest;
  }

  /** Drains one ingest, or kills it with what it holds. */
  #replaceIngest(): void {
    const { random } = this;
    const at = random.int(0, 1), old = this.#ingests[at]!;
    this.#ingests[at] = this.#newIngest();
    this.#ending.push(random.chance(0.5) ? old.drain() : old.abort());
  }

  /** Nothing fails any more, but late calls are still carried out: every device completes, and all counts are right. */
  async #heal(): Promise<void> {
    const { store } = this;
    for (const call of this.#calls) call.stream.cancelled();
    const abortedBefore = this.aborted, late = this.#late.length;
    let healing = true;
    const answering = (async () => {
      while (healing) {
        for (const { run, resolve } of store.calls.splice(0)) resolve(run());
        if (this.#late.length > 0 && this.random.chance(0.3)) this.#late.shift()!();
        await delay(1);
      }
    })();
    await Promise.all(this.#devices.map(async (device) => {
      do {
        const call = new ModelCall(this, this.#ingests[0]!, device, device.acknowledged, "batches");
        while (!call.ended) {
          call.send(device.sent);
          call.halfClose();
          await delay(1);
        }
      } while (device.acknowledged < device.sent);
    }));
    await Promise.all([...this.#ending, ...this.#ingests.map((ingest) => ingest.drain())]);
    healing = false;
    await answering;
    assertLessOrEqual(
      this.aborted - abortedBefore,
      late,
      "only a late claim takes a session from its only stream",
    );
    for (const run of this.#late) run();
    this.#checkCounts();
    this.#checkCounters();
  }

  /** The store counts each packet of a session once, and of the others no packet twice. */
  #checkCounts(): void {
    const { store } = this;
    const expected = new Map<string, number>();
    for (const { session, sent: end, everAcknowledged, keeping, unproven } of this.#devices) {
      assertEquals(store.sessions.get(session)?.committed ?? 0, end);
      const settled = store.settled.get(session) ?? new Set();
      for (let index = 0; index < end; index++) {
        if (settled.has(index)) {
          for (const [id, packets] of contents(session, index, index + 1)) {
            expected.set(id, (expected.get(id) ?? 0) + packets);
          }
        } else {
          assert(store.reverts > 0, `packet ${index} of ${session} is missing`);
          assertLess(
            index,
            keeping === Infinity ? unproven : everAcknowledged,
            `${session} lacks a packet that was never settled`,
          );
        }
      }
    }
    const ofSessions = new Map([...store.counts].filter(([id]) => !id.startsWith("anonymous")));
    assertEquals(sorted(ofSessions), sorted(expected));
    for (const [id, packets] of this.finished) {
      if (store.reverts === 0) assertEquals(store.counts.get(id) ?? 0, packets, id);
      else assertLessOrEqual(store.counts.get(id) ?? 0, packets, id);
    }
  }

  #checkCounters(): void {
    const { store } = this;
    if (store.reverts === 0) {
      const counters = this.#everyIngest.map(({ ingest }) => ingest.counters);
      assertEquals(total(counters.map(({ sessionsReverted }) => sessionsReverted)), 0);
    }
    for (const { ingest: { streams, sessions, counters } } of this.#ingests) {
      assertEquals([streams.size, sessions.size], [0, 0]);
      const { received, stored, duplicates, rejected, fenced } = counters;
      assertEquals(stored + duplicates + fenced + total(rejected.values()), received);
    }
    const claimed = total(this.#everyIngest.map(({ ingest }) => ingest.counters.stored));
    if (store.reverts === 0) assertLessOrEqual(claimed, total(store.counts.values()));
  }
}

function total(numbers: Iterable<number>): number {
  return [...numbers].reduce((sum, number) => sum + number, 0);
}
