/**
 * One run: real processes, clients that know what they sent, faults picked at random, and the comparison.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import { type Random, seededRandom } from "../support/random.ts";
import { TallyProcess } from "../support/tally_process.ts";
import { type AccessPolicy, openAccess, securedAccess } from "./client_access.ts";
import { clusterFaults } from "./cluster_faults.ts";
import { ClusterPlace } from "./cluster_place.ts";
import { compare, type Comparison } from "./comparison.ts";
import { AnonymousDevice, type ClientOptions, HandWrittenDevice } from "./devices.ts";
import { FakedClock, findFaketime } from "./faked_clock.ts";
import { FaultProxy } from "./fault_proxy.ts";
import { commonFaults } from "./faults.ts";
import { Gateway } from "./gateway.ts";
import { IngestPlace } from "./ingest_place.ts";
import { injectFaults } from "./injection.ts";
import { FullPipes } from "./log_pipe.ts";
import { redisFaults } from "./redis_faults.ts";
import { RedisPlace } from "./redis_place.ts";
import { type Fault, Scene } from "./scene.ts";
import { Silences } from "./silences.ts";
import { sqliteFaults } from "./sqlite_faults.ts";
import { dataFolder, SqlitePlace } from "./sqlite_place.ts";
import { StoreLosses } from "./store_losses.ts";
import type { StorePlace } from "./store_place.ts";

/** Where packets are counted: one Redis, a cluster of six, or a file. */
export type StoreKind = "redis" | "cluster" | "sqlite";

/** What a run is given. */
export interface ChaosOptions {
  /** Where packets are counted. */
  readonly store: StoreKind;
  /** Decides which faults come, in which order, and what they are like. When they hit, the machine decides. */
  readonly seed: number;
  readonly durationMs: number;
  /** Processes of each of the two ingests that take packets, on one port. */
  readonly workers: number;
  /** TLS, and a credential for each client. */
  readonly secure: boolean;
  /** `TALLY_MAX_CONNECTION_AGE`; empty: none. */
  readonly age: string;
  /** Only kinds of faults whose name contains it. */
  readonly only: string;
  /** Ends the run at once. */
  readonly signal: AbortSignal;
  /** Told now and then how far it is. */
  readonly progress: (line: string) => void;
}

/** What came of a run. */
export interface ChaosResult {
  /** How often each kind of fault was injected. */
  readonly faults: ReadonlyMap<string, number>;
  /** Kinds that this machine cannot have, with the reason. */
  readonly leftOut: readonly string[];
  readonly comparison: Comparison;
  /** What must not happen and did, besides wrong counts. */
  readonly violations: readonly string[];
}

/** Clients of each kind. */
const GATEWAYS = 4, HAND_WRITTEN = 4, ANONYMOUS = 4;

const INGESTS = 2;

/** Short, so that calls are cut in the middle. */
const AGE_GRACE = "1s";

/**
 * A client of a session is silent for so long only while all its calls fail: it may be called offline then. Less, and
 * others could be; more, and the api, which waits as long after each failure of the store, would call nobody offline.
 */
const OFFLINE_AFTER = "20s";

/** How long clients may take to settle all when nothing fails any more. */
const SETTLE_TIMEOUT_MS = 60_000;

/** Runs it; nothing is left behind, however it ends. */
export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const { seed, durationMs, signal } = options;
  const random = seededRandom(seed);
  const violations: string[] = [];
  const failed = new AbortController();
  const violated = (what: string) => {
    violations.push(what);
    failed.abort();
  };

  await using parts = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "tally-chaos-" });
  parts.defer(() => Deno.remove(folder, { recursive: true }));
  const store = parts.use(await makePlace(options.store));
  const faketime = await findFaketime();
  const access = options.secure ? parts.use(await securedAccess(await dataFolder())) : openAccess;
  const tally = await startTally(parts, store, options, { folder, faketime, access, violated });
  const isSharded = options.store === "cluster";
  const clients = await startClients(parts, tally.front, { folder, random, access, isSharded, violated });
  const { gateways, sessionClients, anonymous } = clients;
  const all = [...sessionClients, ...anonymous];
  using silences = new Silences(sessionClients);

  const losses = new StoreLosses(store);
  const scene = new Scene({
    ...tally,
    workers: options.workers,
    secure: options.secure,
    gateways,
    sessionClients,
    anonymous,
    loseData: (change) => store.withoutTally(() => losses.record(sessionClients, change)),
    violated,
    signal,
  });
  const injected = await injectFaults(chosenFaults(scene, store, options.only), {
    random,
    durationMs,
    signal: AbortSignal.any([signal, failed.signal]),
    violated,
    progress: (text) =>
      options.progress(`${text}, ${all.reduce((sum, { sent }) => sum + sent, 0)} packets sent`),
  });
  signal.throwIfAborted();
  const endedAtMs = Date.now();
  if (!await within(SETTLE_TIMEOUT_MS, clients.end(), signal) && !signal.aborted) {
    violated(`some clients had not settled all ${SETTLE_TIMEOUT_MS} ms after the last fault`);
  }
  const comparison = await compare(all, store, tally.api.port, losses, endedAtMs, silences).catch((error) => {
    throw new Error(["could not compare", ...violations].join("\n"), { cause: error });
  });
  await Promise.all(tally.ingests.map((ingest) => ingest.state === "up" && ingest.terminate()));
  return { faults: injected, leftOut: leftOut(faketime), comparison, violations };
}

function makePlace(store: StoreKind): Promise<RedisPlace | ClusterPlace | SqlitePlace> {
  switch (store) {
    case "redis":
      return RedisPlace.start(INGESTS);
    case "cluster":
      return ClusterPlace.start(INGESTS);
    case "sqlite":
      return SqlitePlace.make();
  }
}

function chosenFaults(scene: Scene, store: StorePlace, only: string): Fault[] {
  const ofStore = store instanceof RedisPlace
    ? redisFaults(store, scene)
    : store instanceof ClusterPlace
    ? clusterFaults(store, scene)
    : store instanceof SqlitePlace
    ? sqliteFaults(store, scene)
    : [];
  const all = [...commonFaults(scene, store), ...ofStore];
  const chosen = all.filter(({ name }) => name.includes(only));
  if (chosen.length > 0) return chosen;
  throw new Error(
    `no kind of fault is called "${only}"; there are ${all.map(({ name }) => name).join(", ")}`,
  );
}

function leftOut(faketime: string | undefined): string[] {
  return [
    ...(faketime === undefined
      ? ["jumps of clocks: libfaketime is not installed (Debian: apt-get install libfaketime)"]
      : []),
    ...(FullPipes.isPossible ? [] : ["logs that nobody reads: only Linux lets others write to them"]),
  ];
}

/** Two ingests, what stands before them, and an api. */
async function startTally(
  parts: AsyncDisposableStack,
  store: StorePlace,
  { workers, age }: ChaosOptions,
  { folder, faketime, access, violated }: {
    folder: string;
    faketime: string | undefined;
    access: AccessPolicy;
    violated: (what: string) => void;
  },
) {
  const clock = async (name: string) =>
    faketime === undefined ? undefined : await FakedClock.make(faketime, `${folder}/clock-${name}`);
  const ingests = await Promise.all(
    Array.from({ length: INGESTS }, async (_, index) => {
      const settings = {
        ...store.ingestSettings(index),
        ...access.settings,
        ...age === "" ? {} : { TALLY_MAX_CONNECTION_AGE: age, TALLY_MAX_CONNECTION_AGE_GRACE: AGE_GRACE },
        TALLY_INGEST_WORKERS: String(workers),
      };
      return parts.use(new IngestPlace(settings, violated, await clock(`ingest-${index}`)));
    }),
  );
  await Promise.all(ingests.map((ingest) => ingest.start()));
  const apiClock = await clock("api");
  const api = await TallyProcess.start(
    "api",
    { ...store.apiSettings, TALLY_OFFLINE_AFTER: OFFLINE_AFTER },
    apiClock?.command,
  );
  let apiMayEnd = false;
  api.ended.then(({ code, signal }) => {
    if (!apiMayEnd) violated(`the api ended by itself (${signal ?? code}):\n${api.output.join("\n")}`);
  });
  parts.defer(async () => {
    apiMayEnd = true;
    api.kill("SIGKILL");
    await api.ended;
  });
  if (store instanceof SqlitePlace) {
    store.pauseTally = async () => {
      for (const ingest of ingests) if (ingest.state === "up") await ingest.pause();
      api.kill("SIGSTOP");
    };
    store.resumeTally = async () => {
      for (const ingest of ingests) if (ingest.state === "stopped") await ingest.resume();
      api.kill("SIGCONT");
    };
  }
  // Which ingest a client comes to is chance; the seed's numbers belong to the faults.
  const front = parts.use(
    new FaultProxy(() => {
      const ports = ingests.map(({ port }) => port).filter((port) => port !== undefined);
      return ports[Math.floor(Math.random() * ports.length)];
    }),
  );
  return { ingests, api, apiClock, front };
}

/** Clients of every kind, which send until `end` is called; that resolves when they have settled all. */
async function startClients(
  parts: AsyncDisposableStack,
  front: FaultProxy,
  { folder, random, access, isSharded, violated }: {
    folder: string;
    random: Random;
    access: AccessPolicy;
    isSharded: boolean;
    violated: (what: string) => void;
  },
) {
  const clientOptions = async (name: string): Promise<ClientOptions> => ({
    name,
    port: front.port,
    access: await access.of(name),
    random: seededRandom(random.int(0, 2 ** 31)),
    isSharded,
    violated,
  });
  const gateways: Gateway[] = [], handWritten: HandWrittenDevice[] = [], anonymous: AnonymousDevice[] = [];
  for (const n of numbers(GATEWAYS)) {
    // Every second one sends again what the store lost.
    const keepAcked = n % 2 === 0 ? { packets: 1_000_000 } : undefined;
    const options = await clientOptions(`gateway-${n}`);
    gateways.push(await Gateway.open(options, `${folder}/gateway-${n}`, keepAcked));
  }
  for (const n of numbers(HAND_WRITTEN)) {
    handWritten.push(new HandWrittenDevice(await clientOptions(`device-${n}`)));
  }
  for (const n of numbers(ANONYMOUS)) {
    anonymous.push(new AnonymousDevice(await clientOptions(`anonymous-${n}`)));
  }
  const sessionClients = [...gateways, ...handWritten];
  const ends = new AbortController(), giveUp = new AbortController();
  const running = [...sessionClients, ...anonymous].map((client) => client.run(ends.signal, giveUp.signal));
  const sending = Promise.all(running).catch((error) => violated(`a client failed: ${error.stack}`));
  parts.defer(async () => {
    ends.abort();
    giveUp.abort();
    front.cut();
    await sending;
  });
  const end = () => {
    ends.abort();
    return sending;
  };
  return { gateways, sessionClients, anonymous, end };
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

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index + 1);
}
