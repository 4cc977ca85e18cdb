/**
 * What goes wrong during a run, by name. Each fault heals what it has done; faults may overlap.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import type { Random } from "../support/random.ts";
import type { RedisServer } from "../support/redis_server.ts";
import { type Gateway, intrude, type SessionClient } from "./devices.ts";
import type { TallyProcess } from "../support/tally_process.ts";
import { FaultLock } from "./fault_lock.ts";
import type { FaultProxy } from "./fault_proxy.ts";
import type { IngestPlace } from "./ingest_place.ts";

/** Everything that can be broken. */
export interface Scene {
  readonly redis: RedisServer;
  /** Takes data from Redis by `change`, while no ingest reaches it, and keeps account of what was lost. */
  readonly loseData: (change: () => Promise<unknown>) => Promise<void>;
  readonly api: TallyProcess;
  readonly ingests: readonly IngestPlace[];
  /** Between the clients and the ingests. */
  readonly front: FaultProxy;
  /** Processes of each ingest that take packets. */
  readonly workers: number;
  /** Between each ingest and Redis. */
  readonly redisProxies: readonly FaultProxy[];
  readonly gateways: readonly Gateway[];
  readonly sessionClients: readonly SessionClient[];
  /** Ends faults under way; what they have broken need not be healed then. */
  readonly signal: AbortSignal;
}

/** A kind of fault. */
export interface Fault {
  readonly name: string;
  /** Does the damage and heals it; false: there was nothing to damage just now. */
  inject(random: Random): Promise<boolean>;
}

/** How long a fault may wait for its occasion. */
const OCCASION_MS = 10_000;

/** How old a state is that Redis is put back to. */
const MIN_AGE_MS = 4000, MAX_AGE_MS = 10_000;

/** Before the store loses data: in that time an ingest that was stopped or cut off notices that streams were replaced. */
const QUIET_MS = 1000;

/** What Tally's scripts run: the user lacks one after the other. */
const COMMANDS = [
  "eval",
  "get",
  "set",
  "mget",
  "hset",
  "hmget",
  "hdel",
  "lpop",
  "ltrim",
  "rpush",
  "pexpire",
  "time",
];

/** All kinds of faults in `scene`. */
export function allFaults(scene: Scene): Fault[] {
  const { redis, loseData, api, ingests, workers, front, redisProxies, gateways, sessionClients, signal } =
    scene;
  let redisRuns = true;
  /** One at a time: a state kept before an earlier loss would give back what was lost. */
  let losesData = false;
  const lock = new FaultLock();

  /** False: the run is being ended. */
  const pause = (durationMs: number) => delay(durationMs, true, { signal }).catch(() => false);

  /** Redis may be killed or stopped meanwhile by another fault. */
  async function command(name: string, ...args: (string | number)[]): Promise<void> {
    while (await redis.call(name, ...args).catch(() => undefined) === undefined && await pause(50));
  }

  function ofIngest(name: string, damage: (ingest: IngestPlace, random: Random) => Promise<unknown>): Fault {
    return {
      name,
      async inject(random) {
        return await lock.shared(async () => {
          const up = ingests.filter(({ state }) => state === "up");
          if (up.length === 0) return false;
          await damage(random.pick(up), random);
          return true;
        });
      },
    };
  }

  function ofRedis(name: string, damage: (random: Random) => Promise<unknown>): Fault {
    return {
      name,
      async inject(random) {
        return await lock.shared(async () => {
          if (!redisRuns) return false;
          await damage(random);
          return true;
        });
      },
    };
  }

  function ofData(name: string, damage: (random: Random) => Promise<unknown>): Fault {
    return {
      name,
      async inject(random) {
        if (losesData) return false;
        losesData = true;
        await damage(random).finally(() => losesData = false);
        return true;
      },
    };
  }

  /**
   * Nothing else is broken then, nor was shortly before: a batch that an ingest holds back for seconds, of a stream
   * that has been replaced since, would be applied to what the store held before.
   */
  const loseDataAlone = (change: () => Promise<unknown>) =>
    lock.alone(async () => {
      if (await pause(QUIET_MS)) await loseData(change);
    });

  return [
    ofIngest("kill -9 an ingest", async (ingest, random) => {
      await ingest.kill9();
      if (await pause(random.int(0, 1500))) await ingest.start();
    }),
    ofIngest("SIGTERM an ingest", async (ingest, random) => {
      await ingest.terminate();
      if (await pause(random.int(0, 1500))) await ingest.start();
    }),
    ofIngest("SIGSTOP an ingest", async (ingest, random) => {
      await ingest.pause();
      await pause(random.int(100, 6000));
      await ingest.resume();
    }),
    ...workers === 1 ? [] : [{
      name: "kill -9 a worker",
      async inject(random: Random) {
        const up = ingests.filter(({ state }) => state === "up");
        return up.length > 0 && await random.pick(up).kill9Worker(random);
      },
    }],
    ofRedis("kill -9 Redis", async (random) => {
      redisRuns = false;
      await redis.kill9();
      if (await pause(random.int(0, 1500))) await redis.start();
      redisRuns = true;
    }),
    ofRedis("SIGSTOP Redis", async (random) => {
      redis.pause();
      await pause(random.int(100, 2500));
      redis.resume();
    }),
    ofRedis("Redis out of memory", async (random) => {
      await command("CONFIG", "SET", "maxmemory", 1);
      await pause(random.int(100, 1500));
      await command("CONFIG", "SET", "maxmemory", 0);
    }),
    ofRedis("SCRIPT FLUSH", () => command("SCRIPT", "FLUSH")),
    ofRedis("take commands from Redis's user", async (random) => {
      for (const name of COMMANDS) {
        await command("ACL", "SETUSER", "default", `-${name}`);
        await pause(random.int(50, 300));
        await command("ACL", "SETUSER", "default", `+${name}`);
      }
    }),
    ofData("put Redis back to an earlier state", async (random) => {
      const putBack = await lock.alone(() => redis.snapshot());
      if (await pause(random.int(MIN_AGE_MS, MAX_AGE_MS))) await loseDataAlone(putBack);
    }),
    ofData("FLUSHALL", () => loseDataAlone(() => redis.call("FLUSHALL"))),
    {
      name: "SIGSTOP the api",
      async inject(random) {
        api.kill("SIGSTOP");
        await pause(random.int(100, 6000));
        api.kill("SIGCONT");
        return true;
      },
    },
    {
      name: "lose Redis's reply",
      async inject(random) {
        const proxy = random.pick(redisProxies);
        const before = proxy.repliesLost, giveUpAt = performance.now() + OCCASION_MS;
        proxy.loseReply("eval");
        while (proxy.repliesLost === before && performance.now() < giveUpAt && await pause(10));
        proxy.loseReply(undefined);
        return proxy.repliesLost > before;
      },
    },
    {
      name: "cut Redis connections",
      inject: (random) => Promise.resolve(random.pick(redisProxies).cut() > 0),
    },
    {
      name: "slow Redis connections",
      async inject(random) {
        const proxy = random.pick(redisProxies);
        proxy.delayMs = random.int(10, 300);
        await pause(random.int(200, 3000));
        proxy.delayMs = 0;
        return true;
      },
    },
    { name: "cut client connections", inject: () => Promise.resolve(front.cut() > 0) },
    {
      name: "two streams of a session",
      async inject(random) {
        const giveUpAt = performance.now() + OCCASION_MS;
        while (!await lock.shared(() => intrude(random.pick(sessionClients), front.port, random))) {
          if (performance.now() > giveUpAt || !await pause(100)) return false;
        }
        return true;
      },
    },
    {
      name: "restart a gateway",
      async inject(random) {
        await random.pick(gateways).restart();
        return true;
      },
    },
  ];
}
