/**
 * Where the shards of one Redis are, and how many there are.
 *
 * The number of shards is part of the names of all keys, so it cannot change once there is data. The first process
 * writes it; others are refused unless they are configured with the same.
 *
 * @module
 */
import { StoreError } from "../store_error.ts";
import { ClusterWatch } from "./cluster_watch.ts";
import { shardCountKey, type ShardKeys, shardKeys } from "./keys.ts";
import { Connection, type ConnectionOptions } from "./redis_connection.ts";
import type { MasterFinder } from "./redis_options.ts";
import { formatTarget, parseRedisUrl, type RedisTarget } from "./redis_url.ts";
import { shardCountScript } from "./scripts.ts";
import { SentinelWatch } from "./sentinel_watch.ts";

/** What the connections of all shards share. */
export class ShardConnections {
  /** Where Redis is; holds no credentials. */
  readonly address: string;
  readonly #target: RedisTarget;
  readonly #sentinels: SentinelWatch | undefined;
  readonly #cluster: ClusterWatch | undefined;
  #claiming: Promise<number> | undefined;

  /** Begins to connect to sentinels or nodes, if the URL names any; `shards`: as many as are configured. */
  constructor(readonly options: ConnectionOptions, readonly shards: number) {
    const target = parseRedisUrl(options.url);
    if (target === undefined) {
      throw new StoreError("could not use the URL of Redis: it has none of the forms");
    }
    this.#target = target;
    this.address = formatTarget(target);
    if (target.master !== undefined) this.#sentinels = new SentinelWatch(target, options);
    if (target.cluster) this.#cluster = new ClusterWatch(target, options);
  }

  /** Why Redis cannot be used until its configuration or Tally's is changed; undefined if it can. */
  get refusal(): string | undefined {
    return this.#cluster?.refusal;
  }

  /** Begins to connect to the master with these keys. `use`: what for. */
  connect(use: string, { slot, probe: probeKey }: ShardKeys): Connection {
    const finder: MasterFinder | undefined = this.#cluster?.finder(slot) ?? this.#sentinels;
    const isOneOfMany = this.shards > 1;
    return new Connection(this.#target, this.options, { use, probeKey, finder, isOneOfMany });
  }

  /**
   * Resolves to the number of shards of the data; if there is no data yet, it is the configured one from now on.
   * `connection`: of a shard. Calls at once share one request.
   */
  shardCount(connection: Connection): Promise<number> {
    return this.#claiming ??= this.#claimShards(connection).finally(() => this.#claiming = undefined);
  }

  async #claimShards(connection: Connection): Promise<number> {
    const plain = shardKeys();
    const keys = [shardCountKey, plain.layout, plain.counts];
    const claim = async (connection: Connection) =>
      Number(await connection.evaluate("read the number of shards", shardCountScript, keys, [this.shards]));
    // The key is in the slot of a store with one shard, on whose master no other shard need be.
    if (this.shards === 1 || this.#cluster === undefined) return await claim(connection);
    const own = this.connect("the number of shards", plain);
    try {
      await own.firstAttempt(this.options.commandTimeoutMs);
      return await claim(own);
    } finally {
      await own.close();
    }
  }

  /** Ends the connections to sentinels and nodes. */
  async close(): Promise<void> {
    await Promise.all([this.#sentinels?.close(), this.#cluster?.close()]);
  }
}
