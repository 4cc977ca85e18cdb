/**
 * A Redis Cluster of three masters with a replica each, all real, on free ports, as `redis-cli --cluster create` makes
 * it.
 *
 * @module
 */
import { Redis } from "ioredis";

import { type RedisServer, type RedisSettings, startRedis } from "./redis_server.ts";
import { until } from "./until.ts";

/** Masters; each has one replica. */
const MASTERS = 3;

/** Time after which a node takes another for down, in milliseconds. */
const NODE_TIMEOUT_MS = 1000;

/** A line of CLUSTER NODES. */
interface Node {
  readonly id: string;
  readonly server: RedisServer;
  readonly flags: readonly string[];
  /** Id of its master, of a replica. */
  readonly masterId: string;
  /** Slots it serves, as `first-last`. */
  readonly slots: readonly string[];
}

/** Starts the servers and makes them a cluster; resolves when it serves all slots and has its replicas. */
export async function startCluster(settings: RedisSettings = {}): Promise<RedisCluster> {
  await using parts = new AsyncDisposableStack();
  const servers = await Promise.all(Array.from({ length: 2 * MASTERS }, () =>
    startRedis({
      "cluster-enabled": "yes",
      "cluster-node-timeout": `${NODE_TIMEOUT_MS}`,
      "repl-diskless-sync-delay": "0",
      ...settings,
    })));
  for (const server of servers) parts.use(server);
  await redisCli(
    "--cluster",
    "create",
    ...servers.map(addressOf),
    "--cluster-replicas",
    "1",
    "--cluster-yes",
  );
  const cluster = new RedisCluster(servers, parts.move());
  await cluster.untilHealthy();
  return cluster;
}

/** A running cluster. */
export class RedisCluster implements AsyncDisposable {
  /** URL of Tally's setting, with half of the nodes. */
  readonly url: string;

  /** `parts` has the servers. */
  constructor(readonly servers: readonly RedisServer[], readonly parts: AsyncDisposableStack) {
    this.url = `redis+cluster://${servers.filter((_, i) => i % 2 === 0).map(addressOf).join(",")}`;
  }

  /** As `node` reports them; by default the first that is up. */
  async nodes(node?: RedisServer): Promise<Node[]> {
    for (const server of node === undefined ? this.servers : [node]) {
      const text = await server.call("CLUSTER", "NODES").catch(() => undefined);
      if (text !== undefined) return String(text).trim().split("\n").map((line) => this.#parse(line));
    }
    throw new Error("no node of the cluster replied");
  }

  /** The master that serves `slot`. */
  async master(slot: number): Promise<Node> {
    const found = (await this.nodes()).find((node) => isMaster(node) && serves(node, slot));
    if (found === undefined) throw new Error(`no master serves slot ${slot}`);
    return found;
  }

  /** Resolves when another master than `former` serves `slot`. */
  async untilServed(slot: number, former: RedisServer): Promise<void> {
    await until(
      async () => {
        const nodes = await this.nodes();
        return nodes.some((node) => node.server !== former && isMaster(node) && serves(node, slot));
      },
      `another master serves slot ${slot}`,
      30,
    );
  }

  /** A replica of the master that serves `slot`: nodes of a busy machine take one for failed for a moment. */
  async replica(slot: number): Promise<Node> {
    let found: Node | undefined;
    await until(
      async () => {
        const { id } = await this.master(slot);
        found = (await this.nodes()).find(({ masterId, flags }) =>
          masterId === id && !flags.some((flag) => flag.startsWith("fail"))
        );
        return found !== undefined;
      },
      `the master of slot ${slot} has a replica`,
      30,
    );
    return found!;
  }

  /** A master that does not serve `slot`. */
  async otherMaster(slot: number): Promise<Node> {
    return (await this.nodes()).find((node) => isMaster(node) && !serves(node, slot))!;
  }

  /** Has a replica take over from the master of `slot`, which becomes its replica. Resolves when all nodes report it. */
  async failover(slot: number): Promise<void> {
    // Redis gives it up after five seconds, as when nodes of a busy machine take each other for failed.
    for (let triesLeft = 5;; triesLeft--) {
      const { server, id } = await this.replica(slot);
      const isDone = (nodes: readonly Node[]) =>
        nodes.some((node) => node.id === id && isMaster(node) && serves(node, slot));
      await server.call("CLUSTER", "FAILOVER");
      try {
        return await this.#untilAll(isDone, 6);
      } catch (error) {
        if (triesLeft === 0) throw error;
      }
    }
  }

  /** Begins to move `slot` to another master: until it is finished, keys are on either. */
  async beginMove(slot: number): Promise<{ from: Node; to: Node }> {
    const from = await this.master(slot), to = await this.otherMaster(slot);
    await to.server.call("CLUSTER", "SETSLOT", slot, "IMPORTING", from.id);
    await from.server.call("CLUSTER", "SETSLOT", slot, "MIGRATING", to.id);
    return { from, to };
  }

  /** Moves up to `count` of the slot's keys; resolves to how many it moved. */
  async moveKeys(slot: number, { from, to }: { from: Node; to: Node }, count = 1000): Promise<number> {
    const keys = await from.server.call("CLUSTER", "GETKEYSINSLOT", slot, count) as string[];
    if (keys.length > 0) {
      await from.server.call("MIGRATE", "127.0.0.1", to.server.port, "", 0, 5000, "KEYS", ...keys);
    }
    return keys.length;
  }

  /** Ends the move. */
  async endMove(slot: number, { from, to }: { from: Node; to: Node }): Promise<void> {
    while (await this.moveKeys(slot, { from, to }) > 0);
    // A master that is killed before its replica has the keys would lose them, as MIGRATE does not wait.
    await until(() => isReplicated(to.server), "a replica has the keys");
    for (const { server } of [to, from]) await server.call("CLUSTER", "SETSLOT", slot, "NODE", to.id);
  }

  /** Ends moves that failed half-way, as an operator does. */
  async repairMoves(): Promise<void> {
    const { server } = (await this.nodes()).find(isMaster)!;
    const repair = () => redisCli("--cluster", "fix", addressOf(server), "--cluster-yes");
    await until(() => repair().then(() => true, () => false), "redis-cli --cluster fix succeeds", 30);
    const masters = (await this.nodes()).filter(isMaster);
    for (const { server } of masters) await until(() => isReplicated(server), "a replica has the keys", 30);
  }

  /** Deletes all keys. */
  async clear(): Promise<void> {
    for (const { server, flags } of await this.nodes()) {
      if (flags.includes("master")) await server.call("FLUSHALL");
    }
  }

  /** Keeps the keys of `slot` as they are at one moment; the function it resolves to puts them back, in one step. */
  async snapshot(slot: number): Promise<() => Promise<void>> {
    const { server } = await this.master(slot);
    const dumps = await withClient(server, async (redis) => {
      await redis.call("CLIENT", "PAUSE", MAX_DUMP_MS, "WRITE");
      try {
        const keys = await keysIn(redis, slot);
        return await Promise.all(
          keys.map(async (key) => [key, await redis.pttl(key), await redis.dumpBuffer(key)] as const),
        );
      } finally {
        await redis.call("CLIENT", "UNPAUSE");
      }
    });
    return async () => {
      await withClient((await this.master(slot)).server, async (redis) => {
        const step = redis.multi();
        for (const key of await keysIn(redis, slot)) step.del(key);
        for (const [key, expiryMs, dump] of dumps) {
          // Null: it expired meanwhile.
          if (dump !== null) step.restore(key, Math.max(0, expiryMs), dump);
        }
        for (const [error] of await step.exec() ?? []) if (error !== null) throw error;
      });
    };
  }

  /** Resolves when all nodes report that the cluster serves all slots, by the same masters, each with a replica. */
  async untilHealthy(): Promise<void> {
    const isHealthy = async () => {
      const views = new Set<string>();
      for (const server of this.servers) {
        const info = String(await server.call("CLUSTER", "INFO"));
        const replication = String(await server.call("INFO", "replication"));
        const isReplicated = /role:master[\s\S]*connected_slaves:[1-9]|master_link_status:up/.test(
          replication,
        );
        if (!info.includes("cluster_state:ok") || !isReplicated) return false;
        const masters = (await this.nodes(server)).filter(isMaster).map(({ id, slots }) => `${id} ${slots}`);
        views.add(masters.toSorted().join());
      }
      return views.size === 1;
    };
    await until(() => isHealthy().catch(() => false), "the cluster is healthy", 30);
  }

  /** Ends all servers. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.parts.disposeAsync();
  }

  async #untilAll(condition: (nodes: readonly Node[]) => boolean, seconds: number): Promise<void> {
    await until(
      async () => {
        for (const server of this.servers) {
          const nodes = await this.nodes(server).catch(() => undefined);
          if (nodes !== undefined && !condition(nodes)) return false;
        }
        return true;
      },
      "all nodes report it",
      seconds,
    );
  }

  #parse(line: string): Node {
    const [id = "", address = "", flags = "", masterId = "", , , , , ...slots] = line.split(" ");
    const port = Number(/:(\d+)@/.exec(address)?.[1]);
    const server = this.servers.find((server) => server.port === port)!;
    return { id, server, flags: flags.split(","), masterId, slots: slots.filter((slot) => /^\d/.test(slot)) };
  }
}

/** Whether a replica has all that `master` has. */
async function isReplicated(master: RedisServer): Promise<boolean> {
  const info = String(await master.call("INFO", "replication"));
  const offset = Number(/master_repl_offset:(\d+)/.exec(info)?.[1]);
  return Number(/slave0:.*offset=(\d+)/.exec(info)?.[1]) >= offset;
}

function isMaster({ flags }: Node): boolean {
  return flags.includes("master") && !flags.includes("fail");
}

function serves({ slots }: Node, slot: number): boolean {
  return slots.some((range) => {
    const [first, last = first] = range.split("-").map(Number);
    return first! <= slot && slot <= last!;
  });
}

function addressOf({ port }: RedisServer): string {
  return `127.0.0.1:${port}`;
}

/** A snapshot stops writers for so long at most. */
const MAX_DUMP_MS = 5000;

async function keysIn(redis: Redis, slot: number): Promise<string[]> {
  return await redis.call("CLUSTER", "GETKEYSINSLOT", slot, 1_000_000) as string[];
}

/** Runs `body` with a connection to `server`. */
async function withClient<T>({ url }: RedisServer, body: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url);
  try {
    return await body(redis);
  } finally {
    await redis.quit();
  }
}

/** Runs redis-cli, which comes with redis-server. */
async function redisCli(...args: string[]): Promise<void> {
  const { success, stdout, stderr } = await new Deno.Command("redis-cli", { args }).output();
  if (success) return;
  const text = new TextDecoder();
  throw new Error(`redis-cli ${args.join(" ")} failed: ${text.decode(stdout)}${text.decode(stderr)}`);
}
