/**
 * Sessions against a model: devices, two ingests and a store in every order that chance can think of.
 *
 * Streams, queue and writer are the real ones. The store is the model itself: what the contract in
 * `store.ts` says, in memory, and losing replies, or being late, on command.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { setTimeout as delay } from "node:timers/promises";

import { status } from "@grpc/grpc-js";
import { assert, assertEquals, assertLess, assertLessOrEqual } from "@std/assert";

import { grpcStatus, RequestError } from "../../src/protocol/request_error.ts";
import { createCounters } from "../../src/ingest/counters.ts";
import { DeviceTable } from "../../src/ingest/batch/device_table.ts";
import { PacketQueue } from "../../src/ingest/batch/queue.ts";
import { CallContext } from "../../src/ingest/stream/call_context.ts";
import { type CallResponse, DeviceStream, type StreamKind } from "../../src/ingest/stream/device_stream.ts";
import type { IngestState } from "../../src/ingest/stream/ingest_state.ts";
import { Reverts } from "../../src/ingest/stream/reverts.ts";
import { Writer } from "../../src/ingest/batch/writer.ts";
import type { Store } from "../../src/store/store.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { type Ack, streamBatches, streamPackets } from "../../src/protocol/telemetry_proto.ts";
import { contents, deviceOf, ModelStore, sorted } from "./session_model.ts";
import { ingestDefaults } from "../support/harness.ts";
import { type Random, seededRandom } from "../support/random.ts";
import { until } from "../support/until.ts";

/** Worlds that live at the same time: they wait for timers most of their life. */
const AT_ONCE = 200;

Deno.test("Sessions, model test: in any order of events each packet is counted once and each Ack is correct", async () => {
  const only = Deno.env.get("SEED"), worlds = only === undefined ? Number(Deno.env.get("WORLDS") ?? 2000) : 1;
  const first = only === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(only);
  let steps = 0;
  for (let done = 0; done < worlds; done += AT_ONCE) {
    const seeds = Array.from({ length: Math.min(AT_ONCE, worlds - done) }, (_, i) => first + done + i);
    await Promise.all(seeds.map(async (seed) => {
      try {
        const taken = await new World(seededRandom(seed)).run();
        steps += taken;
      } catch (error) {
        throw new Error(`fails with SEED=${seed}: ${error instanceof Error ? error.stack : error}`);
      }
    }));
  }
  assertLessOrEqual(50 * worlds, steps);
});

Deno.test("DeviceStream whose store was restored from a backup: no further Ack, and the offset of the store", async () => {
  const random = seededRandom(1), store = new ModelStore();
  const where = new ModelIngest(store, random);
  const acks: Ack[] = [];
  let ended: { error: unknown; committed: number } | undefined;
  const start = { session: "s1", offset: 0 };
  const stream = new DeviceStream(where.ingest, "batches", start, noContext(), {
    sendHeaders() {},
    sendAck(ack) {
      acks.push(ack);
      return false; // The device reads one Ack and then no more.
    },
    end: (error, committed) => ended = { error, committed },
  });
  const answer = async () => {
    await until(() => store.calls.length > 0, "the store is called");
    for (const { run, resolve } of store.calls.splice(0)) resolve(run());
  };
  const claimed = stream.claimSession();
  await answer();
  await claimed;
  for (let index = 0; index < 3; index++) {
    if (index === 2) store.revert(random);
    const packets = [{ device_id: deviceOf("s1", index), timestamp: 0, payload: new Uint8Array(1) }];
    const message = Buffer.from(streamBatches.requestSerialize({ packets }));
    stream.message(message, 0, message.length);
    await answer();
    const { counters } = where.ingest;
    await until(() => counters.stored + counters.fenced === index + 1, "the batch is settled");
  }
  await until(() => ended !== undefined, "the stream has ended");
  assertEquals(acks.map(({ committed }) => committed), [1]);
  assertEquals([grpcStatus(ended?.error).code, ended?.committed], [status.UNAVAILABLE, 0]);
  assertEquals([where.ingest.counters.stored, where.ingest.counters.fenced], [2, 1]);
  assertEquals([where.ingest.counters.sessionsReverted, where.ingest.streams.size], [1, 0]);
  await where.drain();
});

/** The model has neither peers nor metadata. */
const noContext = () => new CallContext({}, { session: undefined, offset: undefined });

const SESSIONS = ["s1", "s2", "s3"];

/** An ingest without its server. */
class ModelIngest {
  readonly ingest: IngestState;
  readonly #aborted = new AbortController();
  readonly #finished: Promise<void>;

  constructor(store: ModelStore, random: Random) {
    const { log, now, ...limits } = ingestDefaults;
    const queue = new PacketQueue({
      maxPackets: random.int(1, 20),
      maxBytes: 2000,
      maxDevices: 50,
      dueDevices: 10,
      flushIntervalMs: 1,
    });
    const counters = createCounters();
    this.ingest = {
      queue,
      store: store as unknown as Store,
      devices: new DeviceTable(100),
      counters,
      reverts: new Reverts(counters, log),
      streams: new Set(),
      sessions: new Map(),
      limits,
      now,
      draining: false,
    };
    const producer = crypto.randomUUID();
    this.#finished = new Writer({
      queue,
      store: store as unknown as Store,
      counters,
      producer,
      now,
      log,
      signal: this.#aborted.signal,
    }).run();
  }

  /** As `ingest.ts` does. */
  drain(): Promise<void> {
    this.ingest.draining = true;
    for (const stream of [...this.ingest.streams]) stream.fail(new Error("draining"));
    this.ingest.queue.close();
    return this.#finished.then(() => this.ingest.reverts.close());
  }

  /** As the drain's deadline does, or the end of the process: nothing is answered any more. */
  abort(): Promise<void> {
    this.#aborted.abort();
    const gone = new RequestError("UNAVAILABLE", "shutting down");
    for (const stream of [...this.ingest.streams]) stream.abort(gone);
    return this.drain();
  }
}

/** One stream as its device sees it. */
class ModelCall implements CallResponse {
  readonly stream: DeviceStream;
  #ready = false;
  #waiting = false;
  #next: number;
  #claimed = 0;
  #settled: number;
  readonly #anonymous = `anonymous-${crypto.randomUUID()}`;
  ended = false;

  constructor(
    readonly world: World,
    readonly where: ModelIngest,
    readonly session: string | undefined,
    readonly offset: number,
    readonly kind: StreamKind,
  ) {
    this.#next = this.#settled = offset;
    this.stream = new DeviceStream(where.ingest, kind, { session, offset }, noContext(), this);
    if (session === undefined) this.#ready = true;
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
      device_id: this.session === undefined ? this.#anonymous : deviceOf(this.session, this.#next + i),
      timestamp: 0,
      payload: new Uint8Array(2),
    }));
    if (packets.length === 0) return;
    const message = this.kind === "packets"
      ? streamPackets.requestSerialize(packets[0]!)
      : streamBatches.requestSerialize({ packets });
    this.#next = to;
    if (this.session !== undefined) this.world.sent(this.session, to);
    this.stream.message(Buffer.from(message), 0, message.length);
  }

  /** Sends no more. */
  halfClose(): void {
    if (this.#ready && !this.#waiting) this.stream.end();
  }

  end(error: unknown, committed: number): void {
    assert(!this.ended, "a call ends once");
    this.ended = true;
    if (error === undefined) {
      assertEquals(this.#settled, this.#next, "a call ends well when all is settled");
      if (this.session === undefined) this.world.finished.set(this.#anonymous, this.#next);
    } else {
      if (this.session !== undefined) this.world.told(this.session, committed, { mayBeLess: true });
      const { code, details } = grpcStatus(error);
      if (code === status.ABORTED) {
        this.world.aborted++;
        const latest = this.world.store.latestEpoch.get(this.session!)!;
        assertLess(this.stream.claim!.epoch, latest, "no newer stream has the session");
      }
      if (details.startsWith("the store went back")) {
        assert(
          this.world.store.reported.has(`${this.session} ${committed}`),
          "the store holds another number",
        );
      }
    }
  }

  sendHeaders(committed: number | undefined): void {
    this.#claimed = committed!;
    this.world.told(this.session!, committed!);
  }

  sendAck({ stored, duplicates, rejected, committed }: Ack): boolean {
    assert(!this.ended, "no Ack comes after the end");
    const settled = this.offset + stored + duplicates + rejected;
    assertEquals(committed, Math.max(this.#claimed, settled));
    assertLessOrEqual(settled, this.#next);
    this.#settled = settled;
    if (this.session !== undefined) this.world.told(this.session, committed);
    return true;
  }
}

/** Three sessions whose devices never tire of opening streams, and what may happen to them. */
class World {
  readonly store = new ModelStore();
  readonly #everyIngest: ModelIngest[] = [];
  readonly #ingests: ModelIngest[];
  readonly #ending: Promise<void>[] = [];
  readonly #late: (() => unknown)[] = [];
  #calls: ModelCall[] = [];
  readonly #sent = new Map(SESSIONS.map((session) => [session, 0]));
  readonly #told = new Map(SESSIONS.map((session) => [session, 0]));
  readonly #everTold = new Map(SESSIONS.map((session) => [session, 0]));
  /** Sessions whose devices keep what is settled. */
  readonly #keepsAll: ReadonlySet<string>;
  /** Whether the store goes back at times. */
  readonly #goesBack: boolean;
  /** Packets of each call without a session that ended well. */
  readonly finished = new Map<string, number>();
  /** Calls told that a newer one took their session. */
  aborted = 0;

  constructor(readonly random: Random) {
    this.#ingests = [this.#newIngest(), this.#newIngest()];
    this.#keepsAll = new Set(SESSIONS.filter(() => random.chance(0.3)));
    this.#goesBack = random.chance(0.6);
  }

  sent(session: string, end: number): void {
    this.#sent.set(session, Math.max(this.#sent.get(session)!, end));
  }

  /**
   * A device was told that packets below `committed` are settled: so it must be, or have been before the store
   * went back. A device that keeps all it ever sent goes back with the store.
   */
  told(session: string, committed: number, { mayBeLess = false } = {}): void {
    const { highest, reverts, sessions } = this.store;
    const known = reverts > 0 ? highest.get(session) : sessions.get(session)?.committed;
    assertLessOrEqual(committed, known ?? 0);
    const before = this.#told.get(session)!;
    this.#told.set(
      session,
      mayBeLess && this.#keepsAll.has(session) ? committed : Math.max(before, committed),
    );
    this.#everTold.set(session, Math.max(this.#everTold.get(session)!, committed));
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
      const known = call.session === undefined ? 0 : this.#sent.get(call.session)!;
      call.send(known + random.int(0, 5));
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
    // The stores' answers, and what follows from them, arrive.
    await Promise.resolve();
    this.#calls = this.#calls.filter(({ ended }) => !ended);
  }

  #open(): void {
    const { random } = this;
    const session = random.chance(0.15) ? undefined : random.pick(SESSIONS);
    const told = session === undefined ? 0 : this.#told.get(session)!;
    const offset = session !== undefined && random.chance(0.3) ? random.int(0, told) : told;
    this.#calls.push(
      new ModelCall(this, random.pick(this.#ingests), session, offset, random.pick(["packets", "batches"])),
    );
  }

  /** One call of the store, not always the oldest, is carried out and answered, or one of the two, or neither. */
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

  /** Drained, or killed with what it has. */
  #replaceIngest(): void {
    const { random } = this;
    const at = random.int(0, 1), old = this.#ingests[at]!;
    this.#ingests[at] = this.#newIngest();
    this.#ending.push(random.chance(0.5) ? old.drain() : old.abort());
  }

  /** Nothing fails any more, but what is late still comes: every device gets through, and all is as it must be. */
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
    await Promise.all(SESSIONS.map(async (session) => {
      do {
        const call = new ModelCall(this, this.#ingests[0]!, session, this.#told.get(session)!, "batches");
        while (!call.ended) {
          call.send(this.#sent.get(session)!);
          call.halfClose();
          await delay(1);
        }
      } while (this.#told.get(session)! < this.#sent.get(session)!);
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

    const expected = new Map<string, number>();
    for (const session of SESSIONS) {
      const end = this.#sent.get(session)!;
      assertEquals(store.sessions.get(session)?.committed ?? 0, end);
      const settled = store.settled.get(session) ?? new Set();
      for (let index = 0; index < end; index++) {
        if (settled.has(index)) {
          for (const [id, packets] of contents(session, index, index + 1)) {
            expected.set(id, (expected.get(id) ?? 0) + packets);
          }
        } else {
          assert(store.reverts > 0, `packet ${index} of ${session} is missing`);
          assertLess(index, this.#everTold.get(session)!, `${session} lacks a packet that was never settled`);
        }
      }
    }
    const ofSessions = new Map([...store.counts].filter(([id]) => !id.startsWith("anonymous")));
    assertEquals(sorted(ofSessions), sorted(expected));
    for (const [id, packets] of this.finished) {
      if (store.reverts === 0) assertEquals(store.counts.get(id) ?? 0, packets, id);
      else assertLessOrEqual(store.counts.get(id) ?? 0, packets, id);
    }
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
