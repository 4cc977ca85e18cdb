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

import { assert, assertEquals, assertLessOrEqual } from "@std/assert";

import { grpcStatus } from "../../src/errors.ts";
import { IngestCounters } from "../../src/ingest/counters.ts";
import { DeviceTable } from "../../src/ingest/devices.ts";
import { PacketQueue } from "../../src/ingest/queue.ts";
import { DeviceStream, type Ingest, type StreamCall, type StreamKind } from "../../src/ingest/stream.ts";
import { Writer } from "../../src/ingest/writer.ts";
import {
  type Batch,
  type FencedSessions,
  type SessionClaim,
  type Store,
  StoreError,
} from "../../src/store/store.ts";
import { type Ack, streamBatches, streamPackets } from "../../src/telemetry_proto.ts";
import { ingestDefaults } from "../harness.ts";
import { type Random, seededRandom } from "../random.ts";

/** Worlds that live at the same time: they wait for timers most of their life. */
const AT_ONCE = 200;

Deno.test("Whatever order things happen in, a packet of a session is counted once and an Ack is true", async () => {
  const only = Deno.env.get("SEED"), worlds = only === undefined ? Number(Deno.env.get("WORLDS") ?? 2000) : 1;
  const first = only === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(only);
  let steps = 0;
  for (let done = 0; done < worlds; done += AT_ONCE) {
    const seeds = Array.from({ length: Math.min(AT_ONCE, worlds - done) }, (_, i) => first + done + i);
    await Promise.all(seeds.map(async (seed) => {
      try {
        steps += await new World(seededRandom(seed)).run();
      } catch (error) {
        throw new Error(`fails with SEED=${seed}: ${error instanceof Error ? error.stack : error}`);
      }
    }));
  }
  assertLessOrEqual(50 * worlds, steps);
});

const SESSIONS = ["s1", "s2", "s3"];

/** Of packet number `index`; one in seven is invalid. */
const deviceOf = (session: string, index: number) => index % 7 === 6 ? "" : `${session}-${index % 2}`;

/** What the packets `from` to `to` of a session must add to each device. */
function contents(session: string, from: number, to: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let index = from; index < to; index++) {
    const id = deviceOf(session, index);
    if (id !== "") counts.set(id, (counts.get(id) ?? 0) + 1);
  }
  return counts;
}

/** The store's contract in memory. Every call waits until the world decides what becomes of it. */
class ModelStore {
  readonly counts = new Map<string, number>();
  readonly sessions = new Map<string, { epoch: number; committed: number }>();
  readonly #applied = new Map<string, number>();
  readonly calls: {
    run: () => unknown;
    resolve: (value: unknown) => void;
    reject: (error: Error) => void;
  }[] = [];

  claimSession(session: string, offset: number): Promise<SessionClaim> {
    return this.#call(() => {
      const known = this.sessions.get(session);
      const committed = known?.committed ?? offset;
      if (offset > committed) return { outcome: "gap", committed };
      const epoch = (known?.epoch ?? 0) + 1;
      this.sessions.set(session, { epoch, committed });
      return { outcome: "claimed", epoch, committed };
    });
  }

  apply(batch: Batch): Promise<FencedSessions> {
    return this.#call(() => {
      const { producer, sequence, sessions, devices } = batch;
      if (sequence <= (this.#applied.get(producer) ?? 0)) return [];
      const fenced = sessions.filter(({ session, epoch, from }) => {
        const known = this.sessions.get(session);
        return known?.epoch !== epoch || known.committed !== from;
      });
      if (fenced.length > 0) return fenced.map(({ session }) => session);
      // What is added must be what the sessions advance by, whoever put the batch together.
      const expected = new Map<string, number>();
      for (const { session, from, to } of sessions) {
        for (const [id, packets] of contents(session, from, to)) {
          expected.set(id, (expected.get(id) ?? 0) + packets);
        }
        this.sessions.set(session, { ...this.sessions.get(session)!, committed: to });
      }
      const added = new Map(devices.map(({ deviceId, packets }) => [deviceId, packets]));
      for (const id of added.keys()) if (id.startsWith("anonymous")) expected.set(id, added.get(id)!);
      assertEquals(sorted(added), sorted(expected));
      for (const [id, packets] of added) this.counts.set(id, (this.counts.get(id) ?? 0) + packets);
      this.#applied.set(producer, sequence);
      return [];
    });
  }

  #call<Result>(run: () => Result): Promise<Result> {
    return new Promise((resolve, reject) => this.calls.push({ run, resolve: resolve as never, reject }));
  }
}

/** An ingest without its server. */
class ModelIngest {
  readonly ingest: Ingest;
  readonly #abandon = new AbortController();
  readonly #finished: Promise<void>;

  constructor(store: ModelStore, random: Random) {
    const { log, now, ...limits } = ingestDefaults;
    const queue = new PacketQueue({
      maxPackets: random.int(1, 20),
      maxBytes: 2000,
      maxDevices: 50,
      flushIntervalMs: 1,
    });
    this.ingest = {
      queue,
      store: store as unknown as Store,
      devices: new DeviceTable(100),
      counters: new IngestCounters(),
      streams: new Set(),
      sessions: new Map(),
      limits,
      now,
      draining: false,
    };
    const producer = crypto.randomUUID();
    const { counters } = this.ingest;
    const abandon = this.#abandon.signal;
    this.#finished = new Writer({
      queue,
      store: store as unknown as Store,
      counters,
      producer,
      now,
      log,
      abandon,
    }).run();
  }

  /** As `ingest.ts` does. */
  drain(): Promise<void> {
    this.ingest.draining = true;
    for (const stream of [...this.ingest.streams]) stream.fail(new Error("draining"));
    this.ingest.queue.close();
    return this.#finished;
  }

  /** As the drain's deadline does, or the end of the process: nothing is answered any more. */
  abandon(): Promise<void> {
    this.#abandon.abort();
    for (const stream of [...this.ingest.streams]) stream.abandon();
    return this.drain();
  }
}

/** One stream as its device sees it. */
class ModelCall implements StreamCall {
  readonly stream: DeviceStream;
  #ready = false;
  #waiting = false;
  #next: number;
  #claimed = 0;
  readonly #anonymous = `anonymous-${crypto.randomUUID()}`;
  ended = false;

  constructor(
    readonly world: World,
    readonly where: ModelIngest,
    readonly session: string | undefined,
    readonly offset: number,
    readonly kind: StreamKind,
  ) {
    this.#next = offset;
    this.stream = new DeviceStream(where.ingest, kind, { session, offset }, this);
    if (session === undefined) this.#ready = true;
    else this.stream.claimSession(session).then(() => this.#ready = true);
  }

  /** Sends up to `end`, if the server reads. */
  send(end: number): void {
    if (!this.#ready || this.#waiting || !this.stream.reading) return;
    const { queue } = this.where.ingest;
    if (queue.full) {
      this.#waiting = true;
      return queue.whenRoom(() => {
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

  end(error: unknown, committed: number): void;
  end(): void;
  end(...[error, committed]: [] | [unknown, number]): void {
    if (committed === undefined) {
      if (this.#ready && !this.#waiting) this.stream.end();
      return;
    }
    assert(!this.ended, "a call ends once");
    this.ended = true;
    if (this.session !== undefined) this.world.told(this.session, error === undefined ? 0 : committed);
    else if (error === undefined) this.world.finished.set(this.#anonymous, this.#next);
    if (error !== undefined) assert(grpcStatus(error).details !== "", String(error));
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
    if (this.session !== undefined) this.world.told(this.session, committed);
    return true;
  }
}

/** Three sessions whose devices never tire of opening streams, and what may happen to them. */
class World {
  readonly store = new ModelStore();
  readonly #ingests: ModelIngest[];
  readonly #ending: Promise<void>[] = [];
  readonly #late: (() => unknown)[] = [];
  #calls: ModelCall[] = [];
  readonly #sent = new Map(SESSIONS.map((session) => [session, 0]));
  readonly #told = new Map(SESSIONS.map((session) => [session, 0]));
  /** Packets of each call without a session that ended well. */
  readonly finished = new Map<string, number>();

  constructor(readonly random: Random) {
    this.#ingests = [new ModelIngest(this.store, random), new ModelIngest(this.store, random)];
  }

  sent(session: string, end: number): void {
    this.#sent.set(session, Math.max(this.#sent.get(session)!, end));
  }

  /** A device was told that packets below `committed` are settled: it must be so. */
  told(session: string, committed: number): void {
    assertLessOrEqual(committed, this.store.sessions.get(session)?.committed ?? 0);
    this.#told.set(session, Math.max(this.#told.get(session)!, committed));
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
    } else if (kind <= 50 && this.#calls.length > 0) random.pick(this.#calls).end();
    else if (kind <= 53 && this.#calls.length > 0) {
      const [call] = this.#calls.splice(random.int(0, this.#calls.length - 1), 1);
      call!.stream.cancelled();
    } else if (kind <= 80 && store.calls.length > 0) this.#answer();
    else if (kind <= 83 && this.#late.length > 0) {
      this.#late.splice(random.int(0, this.#late.length - 1), 1)[0]!();
    } else if (kind <= 85) this.#replaceIngest();
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

  /** Drained, or killed with what it has. */
  #replaceIngest(): void {
    const { random } = this;
    const at = random.int(0, 1), old = this.#ingests[at]!;
    this.#ingests[at] = new ModelIngest(this.store, random);
    this.#ending.push(random.chance(0.5) ? old.drain() : old.abandon());
  }

  /** Nothing fails any more, but what is late still comes: every device gets through, and all is as it must be. */
  async #heal(): Promise<void> {
    const { store } = this;
    let healing = true;
    const answering = (async () => {
      while (healing) {
        for (const { run, resolve } of store.calls.splice(0)) resolve(run());
        if (this.#late.length > 0 && this.random.chance(0.3)) this.#late.shift()!();
        await delay(1);
      }
    })();
    await Promise.all(SESSIONS.map(async (session) => {
      while (this.#told.get(session)! < this.#sent.get(session)!) {
        const call = new ModelCall(this, this.#ingests[0]!, session, this.#told.get(session)!, "batches");
        while (!call.ended) {
          call.send(this.#sent.get(session)!);
          call.end();
          await delay(1);
        }
      }
    }));
    for (const call of this.#calls) call.stream.cancelled();
    await Promise.all([...this.#ending, ...this.#ingests.map((ingest) => ingest.drain())]);
    healing = false;
    await answering;
    for (const run of this.#late) run();

    const expected = new Map<string, number>();
    for (const session of SESSIONS) {
      const end = this.#sent.get(session)!;
      assertEquals(store.sessions.get(session)?.committed ?? 0, end);
      for (const [id, packets] of contents(session, 0, end)) expected.set(id, packets);
    }
    const ofSessions = new Map([...store.counts].filter(([id]) => !id.startsWith("anonymous")));
    assertEquals(sorted(ofSessions), sorted(expected));
    for (const [id, packets] of this.finished) assertEquals(store.counts.get(id) ?? 0, packets, id);
    for (const { ingest } of this.#ingests) assertEquals([ingest.streams.size, ingest.sessions.size], [0, 0]);
  }
}

function sorted(counts: ReadonlyMap<string, number>): [string, number][] {
  return [...counts].sort(([a], [b]) => a < b ? -1 : 1);
}
