/**
 * What every store must hold when the processes that write to it are killed in the middle of a batch: each packet
 * before a session's committed offset is counted once, and none after it.
 *
 * @module
 */
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import { setTimeout as delay } from "node:timers/promises";

import { MAX_IDS_PER_CALL } from "../../src/store/devices.ts";
import type { Store } from "../../src/store/store.ts";
import { countsOf } from "../support/batches.ts";
import { forSeeds, type Random } from "../support/random.ts";
import { deviceOf, parseLine, type WriterPlan } from "./killed_writer.ts";
import type { StorePlace } from "./store_contract.ts";

/** Times that two writers are started, and killed. */
const ROUNDS = 4;

/** Registers the test under `kind`, in a new place. */
export function testKills(kind: string, makePlace: () => Promise<StorePlace>): void {
  Deno.test(`${kind}: apply() counts each packet once, though its writers are killed in mid-batch`, async () => {
    await forSeeds(1, async (random) => {
      await using place = await makePlace();
      const store = await place.open();
      try {
        const writers = ["one", "other"].map((name) => new KilledWriter(name, place, random));
        const reader = new ChangesReader(store);
        for (let round = 1; round <= ROUNDS; round++) {
          await Promise.all(writers.map((writer) => writer.runAndKill()));
          await assertExact(store, reader, writers);
        }
      } finally {
        await store.close();
      }
    });
  });
}

/**
 * The counts, histories and changes are those of the packets that the sessions state, of which none was lost. Shards may
 * have packets after that.
 */
async function assertExact(store: Store, reader: ChangesReader, writers: KilledWriter[]): Promise<void> {
  const expected: Record<string, number> = {};
  let total = 0;
  for (const { acknowledged } of writers) {
    for (const [session, offset] of acknowledged) {
      const { committed, lost, shards } = await store.claimSession(session, offset, Date.now());
      assertEquals(lost, 0, session);
      assertLessOrEqual(
        committed - offset,
        200,
        `${session}: more than the batch in flight was not acknowledged`,
      );
      acknowledged.set(session, committed);
      for (let packet = 0; packet < Math.max(committed, shards?.end ?? 0); packet++) {
        const deviceId = deviceOf(session, packet);
        if (packet >= committed && packet >= shards!.offsetOf(deviceId)) continue;
        total++;
        expected[deviceId] = (expected[deviceId] ?? 0) + 1;
      }
    }
  }
  assert(total > 0);
  const sorted = Object.entries(expected).sort(([a], [b]) => a < b ? -1 : 1);
  assertEquals(await countsOf(store), Object.fromEntries(sorted));
  assertEquals(await reader.counts(), new Map(sorted));

  const nowMs = Date.now();
  const sum = (periods: readonly { packets: number }[]) =>
    periods.reduce((sum, { packets }) => sum + packets, 0);
  assertEquals(sum((await store.fleetHistory(nowMs)).minutes), total);
  for (const [deviceId, count] of sorted.slice(0, 10)) {
    const history = await store.history(deviceId, nowMs);
    assertEquals(history && [sum(history.minutes), sum(history.hours)], [count, count], deviceId);
    const payload = (await store.device(deviceId))?.payload.length;
    assert(payload === 10 || payload === 100, `${deviceId} has a payload of ${payload} bytes`);
  }
}

/** Holds the counts of all devices, as the api does, by reading only what changed. */
class ChangesReader {
  readonly #store: Store;
  readonly #counts = new Map<string, number>();
  #version: number | undefined;

  constructor(store: Store) {
    this.#store = store;
  }

  async counts(): Promise<ReadonlyMap<string, number>> {
    const { version, devices } = await this.#store.changes(this.#version);
    this.#version = version;
    if (devices === "all") {
      for (const [deviceId, count] of Object.entries(await countsOf(this.#store))) {
        this.#counts.set(deviceId, count);
      }
    } else {
      const unread: string[] = [];
      for (const [deviceId, summary] of devices) {
        if (summary === undefined) unread.push(deviceId);
        else this.#counts.set(deviceId, summary.count);
      }
      assertLessOrEqual(unread.length, MAX_IDS_PER_CALL);
      for (const { deviceId, count } of await this.#store.summaries(unread)) {
        this.#counts.set(deviceId, count);
      }
    }
    return new Map([...this.#counts].sort(([a], [b]) => a < b ? -1 : 1));
  }
}

/** A writer in a process of its own, and what it has received acknowledgements for. */
class KilledWriter {
  readonly #name: string;
  readonly #place: StorePlace;
  readonly #random: Random;
  /** Offset by session. */
  readonly acknowledged: Map<string, number>;
  #runs = 0;

  constructor(name: string, place: StorePlace, random: Random) {
    this.#name = name;
    this.#place = place;
    this.#random = random;
    this.acknowledged = new Map([1, 2, 3].map((i) => [`${name} ${i}`, 0]));
  }

  /** Starts the process, kills it after some batches, and reads what it wrote until then. */
  async runAndKill(): Promise<void> {
    const plan: WriterPlan = {
      location: this.#place.location,
      producer: `${this.#name} run ${++this.#runs}`,
      seed: this.#random.int(0, 2 ** 31),
      sessions: Object.fromEntries(this.acknowledged),
    };
    const module = new URL("./killed_writer.ts", import.meta.url).href;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--allow-all", "--no-check", module, JSON.stringify(plan)],
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const errors = new Response(child.stderr).text();
    // The claims are the first lines.
    const killAfter = this.acknowledged.size + this.#random.int(1, 40);
    let lines = 0;
    for await (const line of linesOf(child.stdout)) {
      const [session, acknowledged] = parseLine(line);
      this.acknowledged.set(session, acknowledged);
      if (++lines !== killAfter) continue;
      // At any moment of a batch: most of them take a few milliseconds.
      await delay(this.#random.int(0, 8));
      child.kill("SIGKILL");
    }
    const { signal } = await child.status;
    assertEquals(signal, "SIGKILL", await errors);
  }
}

/** Whole lines; the last one, cut off by the kill, is left out. */
async function* linesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
}
