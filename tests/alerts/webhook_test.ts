/**
 * The webhook, delivered to a real HTTP server.
 *
 * @module
 */
import { createHmac } from "node:crypto";

import { assert, assertEquals } from "@std/assert";
import { configure, getLogger, reset } from "@logtape/logtape";

import { temporaryStore } from "../support/harness.ts";
import { startRedis } from "../support/redis_server.ts";
import { openStore } from "../support/redis_store.ts";
import { addPackets, RunningClock, startTestApi } from "../support/test_api.ts";
import { until } from "../support/until.ts";

const secret = new TextEncoder().encode("a key of at least 24 bytes");

interface Received {
  readonly id: string;
  readonly deviceEvents: readonly {
    readonly id: number;
    readonly kind: string;
    readonly device_id: string;
  }[];
}

/** A server that checks each signature, and responds as `answer` does. */
class Receiver implements AsyncDisposable {
  readonly received: Received[] = [];
  answer: () => Response | Promise<Response> = () => new Response(null, { status: 204 });
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  constructor() {
    this.#server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
      const body = await request.text();
      const id = request.headers.get("webhook-id")!;
      const timestamp = request.headers.get("webhook-timestamp")!;
      const expected = createHmac("sha256", secret).update(`${id}.${timestamp}.${body}`).digest("base64");
      if (request.headers.get("webhook-signature") !== `v1,${expected}`) {
        return new Response("forged", { status: 400 });
      }
      if (new URL(request.url).pathname !== "/hook") throw new Error(`got a request for ${request.url}`);
      this.received.push({ id, deviceEvents: JSON.parse(body).data.events });
      return await this.answer();
    });
  }

  get webhook() {
    return { url: `http://127.0.0.1:${this.#server.addr.port}/hook`, secret };
  }

  /** Every event received, repeats left out. */
  get events(): string[] {
    const byId = new Map(
      this.received.flatMap(({ deviceEvents }) => deviceEvents.map((event) => [event.id, event])),
    );
    return [...byId.values()].map(({ kind, device_id }) => `${device_id} ${kind}`);
  }

  async [Symbol.asyncDispose]() {
    await this.#server.shutdown();
  }
}

const quick = { watchIntervalMs: 10, webhookRetryMs: 5 };

Deno.test("deliverEvents() posts signed events in order, and repeats each with the same id until it is accepted", async () => {
  await using store = await temporaryStore();
  await using receiver = new Receiver();
  const clock = new RunningClock();
  let refusals = 3;
  receiver.answer = () => {
    if (refusals-- > 0) return new Response("no", { status: 500 });
    return new Response(null, { status: 204 });
  };
  await addPackets(store, { a: 1 }, { receivedAtMs: clock.unixMs });
  await using api = await startTestApi(store, { ...clock.options, ...quick, webhook: receiver.webhook });
  const online = async () => (await (await fetch(`${api.url}/fleet`)).json()).online;
  await until(async () => await online() === 1, "a is online");
  clock.pass(61_000);
  await until(() => receiver.received.length === 4, "the event is taken at the fourth attempt");
  assertEquals(new Set(receiver.received.map(({ id }) => id)).size, 1);
  assertEquals(receiver.events, ["a offline"]);

  await addPackets(store, { a: 1 }, { receivedAtMs: clock.unixMs });
  await until(() => receiver.events.length === 2, "the next event comes");
  assertEquals(receiver.events, ["a offline", "a online"]);
  assertEquals(receiver.received.length, 5);
  assert(receiver.received[4]!.id !== receiver.received[3]!.id);
});

Deno.test("deliverEvents(): of two apis one delivers, and the other continues where it ended", async () => {
  await using redis = await startRedis();
  const store = await openStore(redis);
  const other = await openStore(redis);
  try {
    await using receiver = new Receiver();
    const clock = new RunningClock();
    const options = { ...clock.options, ...quick, webhook: receiver.webhook };
    const ids = Array.from({ length: 250 }, (_, i) => `sensor-${i}`);
    const all = Object.fromEntries(ids.map((id) => [id, 1]));
    await addPackets(store, all, { receivedAtMs: clock.unixMs });
    {
      await using first = await startTestApi(store, options);
      await using _second = await startTestApi(other, options);
      await until(
        async () => (await (await fetch(`${first.url}/fleet`)).json()).online === 250,
        "all are online",
      );
      clock.pass(61_000);
      await until(() => receiver.events.length === 250, "all events came");
      // A hundred at most in one delivery.
      assert(receiver.received.every(({ deviceEvents }) => deviceEvents.length <= 100));
      await until(
        async () => (await store.claimDelivery("another", 1, clock.unixMs)) === undefined,
        "one is at it",
      );
    }
    await addPackets(store, all, { receivedAtMs: clock.unixMs });
    await using _third = await startTestApi(store, options);
    await until(() => receiver.events.length === 500, "the others came");
    assertEquals(receiver.received.flatMap(({ deviceEvents }) => deviceEvents).length, 500);
  } finally {
    await store.close();
    await other.close();
  }
});

Deno.test("deliverEvents() logs an unreachable webhook once, without its URL, and delays nothing else", async () => {
  await using store = await temporaryStore();
  const clock = new RunningClock();
  const lines: string[] = [];
  await configure({
    sinks: { list: (record) => lines.push(record.message.join("")) },
    loggers: [
      { category: ["tally", "test"], sinks: ["list"] },
      { category: ["logtape", "meta"], sinks: [] },
    ],
  });
  try {
    const webhook = { url: "http://127.0.0.1:1/hunter2", secret };
    await addPackets(store, { a: 1 }, { receivedAtMs: clock.unixMs });
    await using api = await startTestApi(store, {
      ...clock.options,
      ...quick,
      webhook,
      log: getLogger(["tally", "test"]),
    });
    await until(async () => (await (await fetch(`${api.url}/fleet`)).json()).online === 1, "a is online");
    clock.pass(61_000);
    await until(() => lines.length > 0, "the log has a line");
    assertEquals(lines.length, 1);
    assert(lines[0]!.includes("could not be delivered") && !lines[0]!.includes("hunter2"), lines[0]);
    assertEquals((await (await fetch(`${api.url}/devices/a`)).json()).status, "offline");
  } finally {
    await reset();
  }
});
