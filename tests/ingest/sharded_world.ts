/**
 * Devices, two ingests and the shards of a store in every order that chance produces: see `sharded_session_test.ts`.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { setTimeout as delay } from "node:timers/promises";

import { assert, assertEquals, assertLessOrEqual } from "@std/assert";

import type { CallResponse, ClaimedSession } from "../../src/ingest/stream/call_response.ts";
import { DeviceStream, type StreamKind } from "../../src/ingest/stream/device_stream.ts";
import type { Ack } from "../../src/protocol/messages.ts";
import { streamBatches } from "../../src/protocol/telemetry_proto.ts";
import { shardedStore } from "../../src/store/sharded/sharded_store.ts";
import type { Store } from "../../src/store/store.ts";
import { StoreError } from "../../src/store/store_error.ts";
import type { Random } from "../support/random.ts";
import { ModelIngest } from "./model_ingest.ts";
import { noContext } from "./session_world.ts";

/** The device of a packet: some are of one session, some of all, in all shards; one in eleven is invalid. */
export function deviceOf(session: string, index: number): string {
  if (index % 11 === 6) return "";
  return index % 3 === 0 ? `shared-${index % 5}` : `${session}-${index % 7}`;
}

/** What may happen to the calls of one ingest to one shard. */
class FaultyShard {
  constructor(readonly world: ShardedWorld, readonly index: number, readonly link: { open: Promise<void> }) {}

  claimSession(...args: Parameters<Store["claimSession"]>): ReturnType<Store["claimSession"]> {
    return this.#call((shard) => shard.claimSession(...args));
  }

  apply(batch: Parameters<Store["apply"]>[0]): ReturnType<Store["apply"]> {
    const isUnfenced = this.world.options.unfenced === this.index;
    return this.#call((shard) => shard.apply(isUnfenced ? { ...batch, sessions: [] } : batch));
  }

  /** Injects faults: the call, or its reply, is lost, or late. */
  async #call<T>(run: (shard: Store) => Promise<T>): Promise<T> {
    const { world } = this, { random } = world;
    const call = async () => {
      await world.shardsOpen;
      return await run(world.shards[this.index]!);
    };
    await this.link.open;
    if (!world.isFaulty) return await call();
    if (random.chance(0.3)) await delay(random.int(0, 2));
    const fate = random.int(1, 20);
    if (fate > 4) return await call();
    if (fate <= 2) await call();
    else if (fate === 3) world.late.push(delay(random.int(0, 12)).then(call).then(() => {}, () => {}));
    throw new StoreError("a fault that the test injects");
  }
}

/** An ingest process with its own store of the shards; while its link is shut, its calls wait. */
class ShardedIngest {
  readonly link = { open: Promise.resolve() };
  readonly model: ModelIngest;
  #unfreeze = () => {};

  constructor(world: ShardedWorld) {
    const shards = world.shards.map((_, index) => new FaultyShard(world, index, this.link));
    const store = shardedStore({ shards: shards as unknown as [Store, ...Store[]] });
    this.model = new ModelIngest(store, world.random);
  }

  /** As SIGSTOP does; or lets it go on. */
  freeze(): void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.link.open = promise;
    this.#unfreeze = resolve;
  }

  unfreeze(): void {
    this.#unfreeze();
  }
}

/** One stream as its device sees it. */
class ShardedCall implements CallResponse {
  readonly stream: DeviceStream;
  #isReady = false;
  #next: number;
  ended = false;

  constructor(
    readonly world: ShardedWorld,
    readonly where: ShardedIngest,
    readonly session: string,
    offset: number,
    kind: StreamKind = "batches",
  ) {
    this.#next = offset;
    this.stream = new DeviceStream(where.model.ingest, kind, { session, offset }, noContext(), this);
    this.stream.claimSession().then(() => this.#isReady = true);
  }

  send(end: number): void {
    if (!this.#isReady || !this.stream.reading || this.where.model.ingest.queue.full) return;
    const packets = Array.from({ length: Math.max(0, end - this.#next) }, (_, i) => (
      { device_id: deviceOf(this.session, this.#next + i), timestamp: 0, payload: new Uint8Array(2) }
    ));
    if (packets.length === 0) return;
    this.#next = Math.max(end, this.#next);
    this.world.sent.set(this.session, Math.max(this.world.sent.get(this.session)!, this.#next));
    const message = Buffer.from(streamBatches.requestSerialize({ packets }));
    this.stream.message(message, 0, message.length);
  }

  halfClose(): void {
    if (this.#isReady) this.stream.end();
  }

  sendHeaders({ committed }: ClaimedSession): void {
    this.world.settled(this.session, committed!);
  }

  sendAck({ committed }: Ack): boolean {
    this.world.settled(this.session, committed);
    return true;
  }

  end(_error: unknown, committed: number): void {
    assert(!this.ended, "a call ends once");
    this.ended = true;
    // It keeps all that it ever sent, and goes back with the store.
    if (this.world.options.goBack !== undefined) this.world.acknowledged.set(this.session, committed);
    else this.world.settled(this.session, committed);
  }
}

/** What happens in a world besides. */
export interface ShardedWorldOptions {
  /** A shard that checks no sessions. */
  readonly unfenced?: number;
  /** Puts one shard back to an earlier state; called at times, while no call is in flight. */
  readonly goBack?: () => Promise<void>;
}

/** Four sessions whose devices open streams all the time, and what may happen to them. */
export class ShardedWorld {
  readonly sent: Map<string, number>;
  readonly acknowledged: Map<string, number>;
  /** Calls that come to a shard after they were given up. */
  readonly late: Promise<void>[] = [];
  isFaulty = true;
  shardsOpen: Promise<void> = Promise.resolve();
  readonly #sessions: readonly string[];
  readonly #ingests: ShardedIngest[];
  readonly #everyIngest: ShardedIngest[] = [];
  readonly #ending: Promise<void>[] = [];
  #calls: ShardedCall[] = [];

  /** `shards`: may be replaced while {@linkcode shardsOpen} is pending. */
  constructor(
    readonly random: Random,
    readonly shards: readonly Store[],
    readonly options: ShardedWorldOptions = {},
  ) {
    this.#sessions = [1, 2, 3, 4].map((i) => `session ${i}`);
    this.sent = new Map(this.#sessions.map((session) => [session, 0]));
    this.acknowledged = new Map(this.sent);
    this.#ingests = [this.#newIngest(), this.#newIngest()];
  }

  settled(session: string, committed: number): void {
    assertLessOrEqual(committed, this.sent.get(session)!);
    this.acknowledged.set(session, Math.max(committed, this.acknowledged.get(session)!));
  }

  /** Lives for a while, then all faults end; resolves to the packets that each device must have. */
  async run(): Promise<Map<string, number>> {
    for (let step = this.random.int(60, 140); step > 0; step--) await this.#step();
    await this.#heal();
    const expected = new Map<string, number>();
    for (const [session, end] of this.sent) {
      for (let index = 0; index < end; index++) {
        const deviceId = deviceOf(session, index);
        if (deviceId !== "") expected.set(deviceId, (expected.get(deviceId) ?? 0) + 1);
      }
    }
    return expected;
  }

  async #step(): Promise<void> {
    const { random } = this, kind = random.int(1, 100);
    const ingest = random.int(0, this.#ingests.length - 1);
    if (kind <= 15) this.#open();
    else if (kind <= 60 && this.#calls.length > 0) {
      const call = random.pick(this.#calls);
      call.send(this.sent.get(call.session)! + random.int(0, 6));
    } else if (kind <= 65 && this.#calls.length > 0) random.pick(this.#calls).halfClose();
    else if (kind <= 69 && this.#calls.length > 0) random.pick(this.#calls).stream.cancelled();
    else if (kind <= 72) this.#replace(ingest);
    else if (kind <= 76) {
      this.#ingests[ingest]!.unfreeze();
      if (random.chance(0.6)) this.#ingests[ingest]!.freeze();
    } else if (kind === 77 && this.options.goBack !== undefined) {
      await (this.shardsOpen = this.options.goBack());
    } else await delay(random.int(0, 4));
    this.#calls = this.#calls.filter(({ ended, stream }) => !ended && stream.reading);
  }

  #newIngest(): ShardedIngest {
    const ingest = new ShardedIngest(this);
    this.#everyIngest.push(ingest);
    return ingest;
  }

  #open(): void {
    const { random } = this, session = random.pick(this.#sessions);
    const acknowledged = this.acknowledged.get(session)!;
    const offset = random.chance(0.2) ? random.int(0, acknowledged) : acknowledged;
    this.#calls.push(new ShardedCall(this, random.pick(this.#ingests), session, offset));
  }

  /** One ingest is drained, or killed with what it holds; at times in the middle of a batch, which goes on. */
  #replace(index: number): void {
    const [gone] = this.#ingests.splice(index, 1, this.#newIngest());
    const end = async () => {
      const ended = this.random.chance(0.5) ? gone!.model.abort() : gone!.model.drain();
      await delay(this.random.int(0, 5));
      gone!.unfreeze();
      await ended;
    };
    this.#ending.push(end());
  }

  async #heal(): Promise<void> {
    this.isFaulty = false;
    for (const ingest of this.#ingests) ingest.unfreeze();
    await Promise.all(this.late);
    const last = this.#newIngest();
    for (const session of this.#sessions) {
      for (let tries = 0; this.acknowledged.get(session)! < this.sent.get(session)!; tries++) {
        assert(tries < 20, `${session} goes on`);
        const call = new ShardedCall(this, last, session, this.acknowledged.get(session)!);
        while (!call.ended) {
          call.send(this.sent.get(session)!);
          call.halfClose();
          await delay(1);
        }
      }
    }
    await Promise.all(this.#ingests.map(({ model }) => model.drain()));
    await Promise.all([...this.#ending, last.model.drain(), ...this.late]);
    if (this.options.unfenced !== undefined || this.options.goBack !== undefined) return;
    for (const { model: { ingest: { counters } } } of this.#everyIngest) {
      assertEquals([counters.sessionsReverted, counters.packetsLost], [0, 0], "no shard went back");
    }
  }
}
