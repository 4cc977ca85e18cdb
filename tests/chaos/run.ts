/**
 * One run: real processes, clients that know what they sent, faults picked at random, and the comparison.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import { type Random, seededRandom } from "../support/random.ts";
import { startRedis } from "../support/redis_server.ts";
import {
  AnonymousDevice,
  type ChaosClient,
  type ClientOptions,
  Gateway,
  HandWrittenDevice,
} from "./devices.ts";
import { FaultProxy } from "./fault_proxy.ts";
import { allFaults, type Fault } from "./faults.ts";
import { compare, type Comparison } from "./comparison.ts";
import { IngestPlace } from "./ingest_place.ts";
import { StoreLosses } from "./store_losses.ts";
import { TallyProcess } from "../support/tally_process.ts";

/** What a run is given. */
export interface ChaosOptions {
  /** Decides which faults come, in which order, and what they are like. When they hit, the machine decides. */
  readonly seed: number;
  readonly durationMs: number;
  /** Processes of each of the two ingests that take packets, on one port. */
  readonly workers: number;
  /** Ends the run at once. */
  readonly signal: AbortSignal;
  /** Told now and then how far it is. */
  readonly progress: (line: string) => void;
}

/** What came of a run. */
export interface ChaosResult {
  /** How often each kind of fault was injected. */
  readonly faults: ReadonlyMap<string, number>;
  readonly comparison: Comparison;
  /** What must not happen and did, besides wrong counts. */
  readonly violations: readonly string[];
}

/** Clients of each kind. */
const GATEWAYS = 4, HAND_WRITTEN = 4, ANONYMOUS = 4;

/** From one fault to the next. */
const PAUSE_MS = { min: 200, max: 3400 };

/** After that Redis has carried out what it was sent before its connections were cut. */
const CARRIED_OUT_AFTER_MS = 100;

/** How long clients may take to settle all when nothing fails any more. */
const SETTLE_TIMEOUT_MS = 60_000;

/** Runs it; nothing is left behind, however it ends. */
export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const random = seededRandom(options.seed);
  const violations: string[] = [];
  const failed = new AbortController();
  const violated = (what: string) => {
    violations.push(what);
    failed.abort();
  };
  const { signal } = options;

  await using parts = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "tally-chaos-" });
  parts.defer(() => Deno.remove(folder, { recursive: true }));
  const redis = parts.use(await startRedis({ appendonly: "yes", appendfsync: "always" }));
  const losses = new StoreLosses();
  /** False while the store loses data: what it holds then is compared. */
  let storeIsOpen = true;
  const redisProxies = [1, 2].map(() =>
    parts.use(new FaultProxy(() => storeIsOpen ? redis.port : undefined))
  );
  const { workers } = options;
  const ingests = redisProxies.map(({ port }) => {
    const settings = {
      REDIS_HOST: "127.0.0.1",
      REDIS_PORT: String(port),
      TALLY_INGEST_WORKERS: String(workers),
    };
    return parts.use(new IngestPlace(settings, violated));
  });
  await Promise.all(ingests.map((ingest) => ingest.start()));
  const api = await TallyProcess.start("api", { REDIS_HOST: "127.0.0.1", REDIS_PORT: String(redis.port) });
  let apiMayEnd = false;
  api.ended.then(({ code, signal }) => {
    if (!apiMayEnd) violated(`the api ended by itself (${signal ?? code}):\n${api.output.join("\n")}`);
  });
  parts.defer(async () => {
    apiMayEnd = true;
    api.kill("SIGKILL");
    await api.ended;
  });
  // Which ingest a client comes to is chance; `random` belongs to the faults.
  const front = parts.use(
    new FaultProxy(() => {
      const ports = ingests.map(({ port }) => port).filter((port) => port !== undefined);
      return ports[Math.floor(Math.random() * ports.length)];
    }),
  );

  const clientOptions = (name: string): ClientOptions => ({
    name,
    port: front.port,
    random: seededRandom(random.int(0, 2 ** 31)),
    violated,
  });
  const gateways = await Promise.all(
    numbers(GATEWAYS).map((n) => Gateway.open(clientOptions(`gateway-${n}`), `${folder}/gateway-${n}`)),
  );
  const handWritten = numbers(HAND_WRITTEN).map((n) => new HandWrittenDevice(clientOptions(`device-${n}`)));
  const anonymous = numbers(ANONYMOUS).map((n) => new AnonymousDevice(clientOptions(`anonymous-${n}`)));
  const clients: ChaosClient[] = [...gateways, ...handWritten, ...anonymous];
  const ends = new AbortController(), giveUp = new AbortController();
  const sending = Promise.all(clients.map((client) => client.run(ends.signal, giveUp.signal)))
    .catch((error) => violated(`a client failed: ${error.stack}`));
  parts.defer(async () => {
    ends.abort();
    giveUp.abort();
    front.cut();
    await sending;
  });

  const sessionClients = [...gateways, ...handWritten];
  const loseData = async (change: () => Promise<unknown>) => {
    storeIsOpen = false;
    for (const proxy of redisProxies) proxy.cut();
    await delay(CARRIED_OUT_AFTER_MS);
    await losses.record(redis, sessionClients, change);
    storeIsOpen = true;
  };
  const faults = allFaults({
    redis,
    loseData,
    api,
    ingests,
    workers,
    front,
    redisProxies,
    gateways,
    sessionClients,
    signal,
  });
  const injected = await injectFaults(faults, random, options.durationMs, {
    signal: AbortSignal.any([signal, failed.signal]),
    violated,
    progress: (text) => options.progress(`${text}, ${sum(clients, "sent")} packets sent`),
  });
  signal.throwIfAborted();
  ends.abort();
  if (!await within(SETTLE_TIMEOUT_MS, sending, signal) && !signal.aborted) {
    violated(`some clients had not settled all ${SETTLE_TIMEOUT_MS} ms after the last fault`);
  }
  const comparison = await compare(clients, redis, api.port, losses).catch((error) => {
    throw new Error(["could not compare", ...violations].join("\n"), { cause: error });
  });
  await Promise.all(ingests.map((ingest) => ingest.state === "up" && ingest.terminate()));
  return { faults: injected, comparison, violations };
}

/** Injects one fault after the other for `durationMs`, not waiting for the one before to heal; then for all. */
async function injectFaults(
  faults: readonly Fault[],
  random: Random,
  durationMs: number,
  { signal, violated, progress }: {
    signal: AbortSignal;
    violated: (what: string) => void;
    progress: (text: string) => void;
  },
): Promise<Map<string, number>> {
  const injected = new Map(faults.map(({ name }) => [name, 0]));
  const underWay = new Set<Promise<void>>();
  const startedAt = performance.now();
  let deck: Fault[] = [], total = 0;
  while (performance.now() - startedAt < durationMs) {
    if (!await pause(random.int(PAUSE_MS.min, PAUSE_MS.max), signal)) break;
    // Every kind comes once before any comes again.
    if (deck.length === 0) deck = shuffled(faults, random);
    const fault = deck.pop()!;
    const fate = seededRandom(random.int(0, 2 ** 31));
    const healed = fault.inject(fate).then((done) => {
      if (done) injected.set(fault.name, injected.get(fault.name)! + 1);
    }, (error) => violated(`${fault.name}: ${error.stack}`)).finally(() => underWay.delete(healed));
    underWay.add(healed);
    if (++total % 10 === 0) {
      progress(`${Math.round((performance.now() - startedAt) / 1000)} s, ${total} faults`);
    }
  }
  await Promise.all(underWay);
  return injected;
}

/** False: `signal` came before. */
function pause(durationMs: number, signal: AbortSignal): Promise<boolean> {
  return delay(durationMs, true, { signal }).catch(() => false);
}

/** Whether `work` is done before the time is up or `signal` comes. */
async function within(timeoutMs: number, work: Promise<unknown>, signal: AbortSignal): Promise<boolean> {
  const done = new AbortController();
  const timer = delay(timeoutMs, false, { signal: AbortSignal.any([signal, done.signal]) }).catch(() =>
    false
  );
  const inTime = await Promise.race([work.then(() => true), timer]);
  done.abort();
  return inTime;
}

function shuffled<T>(items: readonly T[], random: Random): T[] {
  const left = [...items];
  return items.map(() => left.splice(random.int(0, left.length - 1), 1)[0]!);
}

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index + 1);
}

function sum(clients: readonly ChaosClient[], key: "sent" | "settled"): number {
  return clients.reduce((total, client) => total + client[key], 0);
}
