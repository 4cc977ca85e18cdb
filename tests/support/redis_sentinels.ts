/**
 * A master, two replicas and three sentinels that watch them, all real, on free ports.
 *
 * @module
 */
import { type RedisServer, type RedisSettings, startRedis } from "./redis_server.ts";
import { until } from "./until.ts";

/** The name of the master. */
const MASTER = "tally-master";

/** Time after which a sentinel takes a server for down. */
const DOWN_AFTER_MS = 500;

/** Servers with sentinels, until they go out of scope. */
export interface SentinelGroup extends AsyncDisposable {
  /** URL of Tally's setting. */
  readonly url: string;
  /** The servers; which of them is the master changes. */
  readonly servers: readonly RedisServer[];
  /** The sentinels. */
  readonly sentinels: readonly RedisServer[];
  /** The server that the sentinels name. */
  master(): Promise<RedisServer>;
  /** Ends the master as by a crash; resolves to the old and the new one when the sentinels agree. */
  failover(): Promise<{ old: RedisServer; master: RedisServer }>;
}

/** Starts all; resolves when the sentinels know each other and both replicas. */
export async function startSentinels(
  settings: RedisSettings = {},
  password?: string,
): Promise<SentinelGroup> {
  await using parts = new AsyncDisposableStack();
  const first = parts.use(await startRedis({ "repl-diskless-sync-delay": "0", ...settings }));
  const replicas = await Promise.all(
    [1, 2].map(() =>
      startRedis({ "repl-diskless-sync-delay": "0", ...settings, replicaof: `127.0.0.1 ${first.port}` })
    ),
  );
  const servers = [first, ...replicas.map((replica) => parts.use(replica))];
  const sentinels: RedisServer[] = [];
  for (let i = 0; i < 3; i++) sentinels.push(parts.use(await startSentinel(first, password)));
  await until(
    async () => {
      for (const sentinel of sentinels) {
        const fields = await sentinel.call("SENTINEL", "MASTER", MASTER) as string[];
        const field = (name: string) => fields[fields.indexOf(name) + 1];
        if (field("num-slaves") !== "2" || field("num-other-sentinels") !== "2") return false;
      }
      return true;
    },
    "the sentinels know each other and the replicas",
    30,
  );

  const addresses = sentinels.map(({ port }) => `127.0.0.1:${port}`).join(",");
  const masterOf = async (sentinel: RedisServer) => {
    const [, port] = await sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER) as string[];
    return servers.find((server) => `${server.port}` === port)!;
  };
  const owned = parts.move();
  return {
    url: `redis+sentinel://${addresses}/${MASTER}`,
    servers,
    sentinels,
    master: () => masterOf(sentinels[0]!),
    async failover() {
      const old = await masterOf(sentinels[0]!);
      await old.kill9();
      await until(
        async () => {
          const named = new Set(await Promise.all(sentinels.map(masterOf)));
          return named.size === 1 && !named.has(old);
        },
        "the sentinels name a new master",
        30,
      );
      const master = await masterOf(sentinels[0]!);
      await until(
        async () => /role:master/.test(String(await master.call("INFO", "replication"))),
        "it is one",
      );
      return { old, master };
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function startSentinel(master: RedisServer, password: string | undefined): Promise<RedisServer> {
  return startRedis(password === undefined ? {} : { requirepass: password }, [
    `sentinel monitor ${MASTER} 127.0.0.1 ${master.port} 2`,
    `sentinel down-after-milliseconds ${MASTER} ${DOWN_AFTER_MS}`,
    `sentinel failover-timeout ${MASTER} 3000`,
    ...(password === undefined ? [] : [`sentinel sentinel-pass ${password}`]),
  ]);
}
