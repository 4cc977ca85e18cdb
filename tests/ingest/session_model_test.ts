/**
 * Sessions against a model.
 *
 * Streams, queue and writer are the real ones. The store is the model itself: the contract in `store/packets.ts`, in
 * memory, which loses replies, or is late, on command.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import { status } from "@grpc/grpc-js";
import { assertEquals, assertLessOrEqual } from "@std/assert";

import { grpcStatus } from "../../src/ingest/rpc/grpc_status.ts";
import { DeviceStream } from "../../src/ingest/stream/device_stream.ts";
import type { Ack } from "../../src/protocol/messages.ts";
import { streamBatches } from "../../src/protocol/telemetry_proto.ts";
import { seededRandom } from "../support/random.ts";
import { until } from "../support/until.ts";
import { ModelIngest } from "./model_ingest.ts";
import { deviceOf, ModelStore } from "./session_model.ts";
import { noContext, World } from "./session_world.ts";

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
