/**
 * Receivers of the webhook that refuse, redirect, send Retry-After, or are down too long.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";

import {
  deliverEvents,
  FIRST_RETRY_MS,
  MAX_REFUSALS,
  MAX_RETRY_MS,
  WebhookCounters,
} from "../../src/alerts/webhook.ts";
import { MAX_RETRY_AFTER_MS, reasonOf, retryAfterMs } from "../../src/alerts/webhook_request.ts";
import { LabelIndex } from "../../src/fleet/label_index.ts";
import { Backoff } from "../../src/runtime/backoff.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { MAX_IDS_PER_CALL } from "../../src/store/devices.ts";
import type { Store } from "../../src/store/store.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { temporaryStore } from "../support/harness.ts";
import { startRedis } from "../support/redis_server.ts";
import { openStore } from "../support/redis_store.ts";
import { addPackets, startTestApi } from "../support/test_api.ts";
import { until } from "../support/until.ts";

const secret = new TextEncoder().encode("a key of at least 24 bytes");
const nowMs = Date.now();

interface Body {
  readonly type: string;
  readonly data: {
    readonly events?: readonly { readonly id: number; readonly device_id: string }[];
    readonly first_id?: number | null;
    readonly last_id?: number;
  };
}

/** A receiver that responds as the test sets; keeps each request. */
class Receiver implements AsyncDisposable {
  readonly bodies: Body[] = [];
  readonly accepted: Body[] = [];
  answer: (body: Body) => Response | Promise<Response> = () => new Response(null, { status: 204 });
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  constructor() {
    this.#server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
      const body = JSON.parse(await request.text() || "{}") as Body;
      this.bodies.push(body);
      const response = await this.answer(body);
      if (response.ok) this.accepted.push(body);
      return response;
    });
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}/hook`;
  }

  /** The devices whose events were accepted, in order. */
  get devices(): string[] {
    return this.accepted.flatMap(({ data }) => data.events ?? []).map(({ device_id }) => device_id);
  }

  async [Symbol.asyncDispose]() {
    await this.#server.shutdown();
  }
}

/** Writes an "offline" event of each device. */
async function addEvents(store: Store, deviceIds: readonly string[]): Promise<void> {
  await addPackets(store, Object.fromEntries(deviceIds.map((id) => [id, 1])), { receivedAtMs: nowMs });
  for (let start = 0; start < deviceIds.length; start += MAX_IDS_PER_CALL) {
    await store.markOffline(deviceIds.slice(start, start + MAX_IDS_PER_CALL), nowMs + 1, nowMs + 1);
  }
}

/** Delivers the events of `store` on a clock that stands still, until it is stopped. */
function startDelivery(store: Store, url: string) {
  const stop = new AbortController();
  const lines: string[] = [];
  const logged = (message: string, properties: Record<string, unknown>) =>
    void lines.push(message.replace(/\{(\w+)\}/g, (_, key) => String(properties[key])));
  const clock = { ms: 0, looks: 0 };
  const waits: number[] = [];
  const backoff = new Backoff({ firstMs: FIRST_RETRY_MS, maxMs: MAX_RETRY_MS, random: () => 0 });
  const failed = backoff.failed.bind(backoff);
  backoff.failed = () => {
    waits.push(failed());
    return waits.at(-1)!;
  };
  const counters = new WebhookCounters();
  const done = deliverEvents({
    url,
    secret,
    store: {
      events: (...args) => store.events(...args),
      commitDelivery: (...args) => store.commitDelivery(...args),
      claimDelivery: (...args) => {
        clock.looks++;
        return store.claimDelivery(...args);
      },
    },
    fleet: { freshLabels: () => Promise.resolve(new LabelIndex()) },
    clock: { ...systemClock, monotonicMs: () => clock.ms },
    watchIntervalMs: 5,
    backoff,
    counters,
    log: { info: logged, warn: logged, error: logged } as never,
    signal: stop.signal,
  });
  return {
    clock,
    counters,
    lines,
    waits,
    done,
    /** Resolves when it has looked for something to do ten times more. */
    async idle(): Promise<void> {
      const { looks } = clock;
      await until(() => clock.looks > looks + 10, "it has looked ten times");
    },
    async [Symbol.asyncDispose](): Promise<void> {
      stop.abort();
      await done;
    },
  };
}

const ids = (count: number, from = 0) => Array.from({ length: count }, (_, index) => `d${from + index}`);

Deno.test("deliverEvents() follows no redirect, even to a server that would accept", async () => {
  await using store = await temporaryStore();
  await using elsewhere = new Receiver();
  await using receiver = new Receiver();
  for (const status of [301, 302, 303, 307, 308]) {
    receiver.answer = () => new Response(null, { status, headers: { location: elsewhere.url } });
    await using delivery = startDelivery(store, receiver.url);
    await delivery.idle();
    await addEvents(store, [`d${status}`]);
    await until(() => delivery.waits.length === 1, "it has failed");
    assert(delivery.lines[0]!.endsWith(`it answered ${status}`), delivery.lines[0]);
    receiver.answer = () => new Response(null, { status: 204 });
    delivery.clock.ms += MAX_RETRY_MS;
    await until(() => delivery.counters.delivered === 1, "it is delivered where it should be");
    assertEquals(receiver.devices.at(-1), `d${status}`);
  }
  assertEquals(elsewhere.bodies, []);
});

Deno.test("deliverEvents() waits longer after each failure, and never less than the minimum", async () => {
  await using store = await temporaryStore();
  await using receiver = new Receiver();
  receiver.answer = () => new Response(null, { status: 500 });
  await using delivery = startDelivery(store, receiver.url);
  const { clock, waits } = delivery;
  await delivery.idle();
  await addEvents(store, ["a"]);
  for (let attempt = 1; attempt <= 11; attempt++) {
    await until(() => waits.length === attempt, `attempt ${attempt}`);
    clock.ms += waits.at(-1)! - 1;
    await delivery.idle();
    assertEquals(receiver.bodies.length, attempt);
    clock.ms += 1;
  }
  assertEquals(waits.slice(0, 11), [
    ...[1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, 256_000],
    ...[300_000, 300_000],
  ]);
  await until(() => waits.length === 12, "attempt 12");
  receiver.answer = () => new Response(null, { status: 204 });
  assertEquals(delivery.counters.failures, 12);
  clock.ms += 300_000;
  await until(() => receiver.devices.length === 1, "it is delivered");
  await until(
    () => delivery.lines.some((line) => line.includes("delivered to the webhook again")),
    "it is logged",
  );
  assertEquals(delivery.counters.failures, 0);
  receiver.answer = () => new Response(null, { status: 500 });
  await addEvents(store, ["b"]);
  await until(() => waits.length === 13, "the next one fails");
  assertEquals([waits.at(-1), delivery.counters.failures], [1000, 1]);
});

Deno.test("deliverEvents() obeys Retry-After", async () => {
  await using store = await temporaryStore();
  await using receiver = new Receiver();
  for (const [index, header] of [() => "120", () => new Date(Date.now() + 120_000).toUTCString()].entries()) {
    receiver.answer = () => new Response(null, { status: 429, headers: { "retry-after": header() } });
    await using delivery = startDelivery(store, receiver.url);
    await delivery.idle();
    await addEvents(store, [`d${index}`]);
    await until(() => delivery.waits.length === 1, "it was refused");
    receiver.answer = () => new Response(null, { status: 204 });
    delivery.clock.ms += 118_000; // a date is in whole seconds
    await delivery.idle();
    assertEquals(receiver.devices.length, index);
    delivery.clock.ms += 2000;
    // Stopped before it knows that, it would be delivered again.
    await until(() => delivery.counters.delivered === 1, "it is delivered");
    assertEquals(receiver.devices.length, index + 1);
  }
});

Deno.test("retryAfterMs() reads seconds and dates within bounds, and ignores other values", () => {
  const nowMs = 1_700_000_000_000; // dates are in whole seconds
  const cases: [string | null, number][] = [
    [null, 0],
    ["0", 0],
    ["7", 7000],
    [" 7 ", 7000],
    ["3600", MAX_RETRY_AFTER_MS],
    ["3601", MAX_RETRY_AFTER_MS],
    ["99999999999999999999999", MAX_RETRY_AFTER_MS],
    [new Date(nowMs + 5000).toUTCString(), 5000],
    [new Date(nowMs - 5000).toUTCString(), 0],
    [new Date(nowMs + 10 * MAX_RETRY_AFTER_MS).toUTCString(), MAX_RETRY_AFTER_MS],
    ["soon", 0],
    ["-5", 0],
    ["", 0],
  ];
  for (const [header, ms] of cases) assertEquals([header, retryAfterMs(header, nowMs)], [header, ms]);
});

Deno.test("deliverEvents() skips an event that is refused repeatedly, and delivers later ones", async () => {
  await using store = await temporaryStore();
  await using receiver = new Receiver();
  const isPoison = ({ data }: Body) => data.events?.some(({ device_id }) => device_id === "d7") ?? false;
  receiver.answer = (body) => new Response(null, { status: isPoison(body) ? 400 : 204 });
  await using delivery = startDelivery(store, receiver.url);
  const { clock, waits, counters, lines } = delivery;
  await delivery.idle();
  await addEvents(store, ids(20));
  for (let refusal = 1; refusal < MAX_REFUSALS; refusal++) {
    await until(() => waits.length === refusal, `refusal ${refusal}`);
    await delivery.idle();
    assertEquals(receiver.devices, ids(7));
    clock.ms += MAX_RETRY_MS;
  }
  await until(() => counters.delivered === 19, "the others are delivered");
  assertEquals(receiver.devices, ids(20).filter((id) => id !== "d7"));
  assertEquals(receiver.bodies.filter(isPoison).length, MAX_REFUSALS + 1); // once with all others
  assertEquals([counters.setAside, counters.delivered], [1, 19]);
  const [line] = lines.filter((line) => line.includes("left out"));
  assert(/refused event \d+ 5 times, and it is left out: it answered 400/.test(line ?? ""), lines.join("\n"));
  // The next one has as many attempts.
  const isSecondPoison = ({ data }: Body) =>
    data.events?.some(({ device_id }) => device_id === "d90") ?? false;
  receiver.answer = (body) => new Response(null, { status: isSecondPoison(body) ? 422 : 204 });
  await addEvents(store, ["d90"]);
  await until(
    () => {
      clock.ms += MAX_RETRY_MS;
      return counters.setAside === 2;
    },
    "the second is set aside",
  );
  assertEquals(receiver.bodies.filter(isSecondPoison).length, MAX_REFUSALS);
  // From there on in batches again.
  await addEvents(store, ids(50, 100));
  await until(() => counters.delivered === 69, "the next ones are delivered");
  assertEquals(receiver.accepted.at(-1)!.data.events?.length, 50);
});

Deno.test("deliverEvents() keeps retrying when a status concerns the receiver and not the event", async () => {
  await using store = await temporaryStore();
  await using receiver = new Receiver();
  await using delivery = startDelivery(store, receiver.url);
  await delivery.idle();
  const statuses = [401, 403, 404, 408, 429, 500, 502, 503];
  receiver.answer = () => new Response(null, { status: statuses[receiver.bodies.length % statuses.length]! });
  await addEvents(store, ["a"]);
  for (let attempt = 1; attempt <= 3 * statuses.length; attempt++) {
    await until(() => delivery.waits.length === attempt, `attempt ${attempt}`);
    delivery.clock.ms += MAX_RETRY_MS;
  }
  receiver.answer = () => new Response(null, { status: 204 });
  delivery.clock.ms += MAX_RETRY_MS;
  await until(
    () => {
      delivery.clock.ms += MAX_RETRY_MS;
      return receiver.devices.length === 1;
    },
    "it is delivered",
  );
  assertEquals(delivery.counters.setAside, 0);
});

Deno.test("deliverEvents() skips events that another api has delivered meanwhile", async () => {
  await using store = await temporaryStore();
  await using receiver = new Receiver();
  await using delivery = startDelivery(store, receiver.url);
  await delivery.idle();
  receiver.answer = () => new Response(null, { status: 500 });
  await addEvents(store, ["a", "b"]);
  await until(() => delivery.waits.length === 1, "its attempt has failed");
  // Its claim has expired for the other, which delivers and lets go, all between two of its looks.
  const later = Date.now() + 60_000;
  const [newest] = await store.events(undefined, 1);
  await Promise.all([
    store.claimDelivery("another", 1, later),
    store.commitDelivery("another", newest!.id, later),
    store.claimDelivery("another", 1, 0),
  ]);
  receiver.answer = () => new Response(null, { status: 204 });
  await addEvents(store, ["c"]);
  delivery.clock.ms += MAX_RETRY_MS;
  await until(() => receiver.devices.length > 0, "the next one is delivered");
  assertEquals(receiver.devices, ["c"]);
});

Deno.test("deliverEvents() counts store failures and its own end not as failures of the receiver", async () => {
  await using real = await temporaryStore();
  await using receiver = new Receiver();
  let failing = true;
  const store = new Proxy(real, {
    get: (target, key) =>
      failing && key === "claimDelivery"
        ? () => Promise.reject(new StoreError("the test refuses it"))
        : Reflect.get(target, key).bind(target),
  });
  await real.claimDelivery("an earlier api", 1, 0);
  await addEvents(real, ["a"]);
  const arrived = Promise.withResolvers<void>(), answered = Promise.withResolvers<Response>();
  receiver.answer = () => {
    arrived.resolve();
    return answered.promise;
  };
  const delivery = startDelivery(store, receiver.url);
  await delivery.idle();
  failing = false;
  await arrived.promise;
  await delivery[Symbol.asyncDispose]();
  answered.resolve(new Response());
  assertEquals([delivery.lines, delivery.waits, delivery.counters.failures], [[], [], 0]);
});

Deno.test("deliverEvents() stops for good at 410, logs it, and releases its claim", async () => {
  await using store = await temporaryStore();
  await using receiver = new Receiver();
  receiver.answer = () => new Response(null, { status: 410 });
  await using api = await startTestApi(store, { webhook: { url: receiver.url, secret }, watchIntervalMs: 5 });
  await using delivery = startDelivery(store, receiver.url);
  await until(
    async () => await store.claimDelivery("another", 1, nowMs) === undefined,
    "one of them delivers",
  );
  await addEvents(store, ["a"]);
  // Each of the two finds out for itself.
  await until(() => delivery.counters.stopped, "it has stopped");
  await delivery.done;
  assert(delivery.counters.stopped && delivery.lines[0]!.includes("410 Gone"), delivery.lines[0]);
  const webhook = async () => (await (await fetch(`${api.url}/fleet`)).json()).webhook;
  await until(async () => (await webhook()).stopped, "the other has stopped");
  assertEquals(await webhook(), { delivered: 0, set_aside: 0, gaps: 0, failures: 0, stopped: true });
  assertEquals(receiver.bodies.length, 2);
  assert(await store.claimDelivery("somebody", 1000, Date.now() + 60_000) !== undefined);
});

/** Ids that `bodies` deliver, and those that their notices name. */
function covered(bodies: readonly Body[]): number[] {
  return bodies.flatMap(({ data }) => {
    if (data.events !== undefined) return data.events.map(({ id }) => id);
    return Array.from({ length: data.last_id! - data.first_id! + 1 }, (_, index) => data.first_id! + index);
  });
}

Deno.test("deliverEvents() sends a notice in place of events that the store dropped", async () => {
  await using store = await temporaryStore();
  await using receiver = new Receiver();
  await addEvents(store, ids(10));
  await using delivery = startDelivery(store, receiver.url);
  await delivery.idle();
  await addEvents(store, ["before"]);
  await until(() => receiver.devices.length === 1, "one is delivered");
  receiver.answer = () => new Response(null, { status: 503 });
  await addEvents(store, ids(50, 1_000));
  await until(() => delivery.waits.length === 1, "the receiver is away");
  await addEvents(store, ids(12_000, 100_000));
  receiver.answer = () => new Response(null, { status: 204 });
  delivery.clock.ms += MAX_RETRY_MS;
  await until(() => delivery.counters.delivered === 10_051, "all that was kept is delivered");
  const first = covered(receiver.accepted)[0]!;
  assertEquals(covered(receiver.accepted), Array.from({ length: 12_051 }, (_, index) => first + index));
  const notices = receiver.accepted.filter(({ type }) => type === "device.status.gap");
  assertEquals(notices.length, 1);
  assertEquals(notices[0]!.data.last_id! - notices[0]!.data.first_id! + 1, 2000);
  assertEquals([delivery.counters.gaps, delivery.counters.delivered], [1, 10_051]);
  assert(delivery.lines.some((line) => line.includes("were dropped before")), delivery.lines.join("\n"));
});

Deno.test("deliverEvents() sends a notice also when nothing was delivered before events were dropped", async () => {
  await using store = await temporaryStore();
  await using receiver = new Receiver();
  await store.claimDelivery("an earlier api", 1, 0);
  await addEvents(store, ids(10_500));
  await using delivery = startDelivery(store, receiver.url);
  await until(() => delivery.counters.delivered === 10_000, "all that was kept is delivered");
  const [notice, next] = receiver.accepted;
  assertEquals([notice!.type, notice!.data.first_id], ["device.status.gap", null]);
  assertEquals(notice!.data.last_id, next!.data.events![0]!.id - 1);
  assertEquals(delivery.counters.gaps, 1);
});

Deno.test("deliverEvents() sends no notice for the first event of a new store", async () => {
  await using redis = await startRedis();
  const store = await openStore(redis);
  try {
    await using receiver = new Receiver();
    await using delivery = startDelivery(store, receiver.url);
    await delivery.idle();
    await addEvents(store, ["a"]);
    await until(() => receiver.accepted.length === 1, "it is delivered");
    await addEvents(store, ["b"]);
    await until(() => delivery.counters.delivered === 2, "the next one too");
    assertEquals(receiver.devices, ["a", "b"]);
    assertEquals([delivery.counters.gaps, delivery.lines], [0, []]);
  } finally {
    await store.close();
  }
});

Deno.test("deliverEvents() logs the cause of a failure without the URL", async () => {
  await using store = await temporaryStore();
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  await using delivery = startDelivery(store, `http://127.0.0.1:${port}/hunter2?token=hunter2`);
  await delivery.idle();
  await addEvents(store, ["a"]);
  await until(() => delivery.lines.length === 1, "it has failed");
  const [line] = delivery.lines;
  assert(line!.includes("Connection refused") && line!.includes(`127.0.0.1:${port}`), line);
  assert(!line!.includes("hunter2"), line);
});

Deno.test("reasonOf() names every cause, without parts of a URL", () => {
  const cause = new Error("for url (https://user:hunter2@host:8443/hunter2?t=hunter2): refused", {
    cause: new Error("http://[::1]:80/hunter2", { cause: "at last" }),
  });
  assertEquals(
    reasonOf(new TypeError("fetch failed", { cause })),
    "fetch failed: for url (host:8443): refused: [::1]: at last",
  );
  const endless = new Error("again");
  endless.cause = endless;
  assertEquals(reasonOf(endless), Array(5).fill("again").join(": "));
});
