/** @module */
import type { RedisPlace } from "./redis_place.ts";
import type { Fault, Scene } from "./scene.ts";

/** How long a fault may wait for its occasion. */
const OCCASION_MS = 10_000;

/** How old a state is that Redis is put back to. */
const MIN_AGE_MS = 2000, MAX_AGE_MS = 6000;

/** What Tally's scripts run: the user lacks one after the other. */
const COMMANDS = [
  "eval",
  "evalsha",
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

/** All kinds of faults of Redis and of the way to it. */
export function redisFaults(place: RedisPlace, scene: Scene): Fault[] {
  return [...serverFaults(place, scene), ...dataFaults(place, scene), ...connectionFaults(place, scene)];
}

function serverFaults({ redis }: RedisPlace, scene: Scene): Fault[] {
  let runs = true;
  /** Redis may be killed or stopped meanwhile by another fault. */
  async function command(name: string, ...args: (string | number)[]): Promise<void> {
    while (await redis.call(name, ...args).catch(() => undefined) === undefined && await scene.pause(50));
  }
  const isWhole = () => runs;
  return [
    scene.shared("kill -9 Redis", isWhole, async (random) => {
      runs = false;
      await redis.kill9();
      if (await scene.pause(random.int(0, 1500))) await redis.start();
      runs = true;
    }),
    scene.shared("SIGSTOP Redis", isWhole, async (random) => {
      redis.pause();
      await scene.pause(random.int(100, 2500));
      redis.resume();
    }),
    scene.shared("Redis out of memory", isWhole, async (random) => {
      await command("CONFIG", "SET", "maxmemory", 1);
      await scene.pause(random.int(100, 1500));
      await command("CONFIG", "SET", "maxmemory", 0);
    }),
    scene.shared("SCRIPT FLUSH", isWhole, () => command("SCRIPT", "FLUSH")),
    scene.shared("take commands from Redis's user", isWhole, async (random) => {
      for (const name of COMMANDS) {
        await command("ACL", "SETUSER", "default", `-${name}`);
        await scene.pause(random.int(50, 300));
        await command("ACL", "SETUSER", "default", `+${name}`);
      }
    }),
  ];
}

function dataFaults({ redis }: RedisPlace, scene: Scene): Fault[] {
  return [
    scene.ofData("put Redis back to an earlier state", async (random) => {
      const putBack = await scene.lock.alone(() => redis.snapshot());
      if (await scene.pause(random.int(MIN_AGE_MS, MAX_AGE_MS))) await scene.loseDataAlone(putBack);
    }),
    scene.ofAllData("FLUSHALL", () => redis.call("FLUSHALL")),
  ];
}

/** Kinds of faults of the way to Redis. */
export function connectionFaults({ proxies }: Pick<RedisPlace, "proxies">, scene: Scene): Fault[] {
  return [
    {
      name: "lose Redis's reply",
      async inject(random) {
        const proxy = random.pick(proxies);
        const before = proxy.repliesLost, giveUpAt = performance.now() + OCCASION_MS;
        proxy.loseReply("eval");
        while (proxy.repliesLost === before && performance.now() < giveUpAt && await scene.pause(10));
        proxy.loseReply(undefined);
        return proxy.repliesLost > before;
      },
    },
    {
      name: "cut Redis connections",
      inject: (random) => Promise.resolve(random.pick(proxies).cut() > 0),
    },
    {
      name: "slow Redis connections",
      async inject(random) {
        const proxy = random.pick(proxies);
        proxy.delayMs = random.int(10, 300);
        await scene.pause(random.int(200, 3000));
        proxy.delayMs = 0;
        return true;
      },
    },
  ];
}
