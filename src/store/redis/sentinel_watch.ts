/**
 * Which server is the master, as the sentinels name it: asked when a sentinel is connected to, and followed as they
 * publish failovers, so that an old master that still runs is left before a sentinel makes it a replica, which takes
 * ten seconds. Without a sentinel that can be reached the last master remains.
 *
 * ioredis has this too, but its connections to sentinels log by themselves and outlive the one to the master.
 *
 * @module
 */
import { Redis } from "ioredis";

import { formatAddress } from "../../runtime/address.ts";
import { messageOf } from "../../runtime/error_text.ts";
import { disconnect, type MasterFinder, redisOptions, type ServerOptions } from "./redis_options.ts";
import type { Endpoint, RedisTarget } from "./redis_url.ts";

/** How often a connection to a sentinel is checked. */
const PING_INTERVAL_MS = 5000;

const SWITCH_MASTER = "+switch-master";

/** Connections to all sentinels. */
export class SentinelWatch implements MasterFinder {
  readonly #target: RedisTarget;
  readonly #options: ServerOptions;
  #failure = "no sentinel has replied yet";
  readonly #sentinels: readonly Redis[];
  readonly #followers = new Set<(master: Endpoint) => void>();
  readonly #pinging: ReturnType<typeof setInterval>;
  #master: Endpoint | undefined;
  /** Of the latest failover that a reply was about: a sentinel that was cut off names an older one. */
  #epoch = -1;

  /** Begins to connect. */
  constructor(target: RedisTarget, options: ServerOptions) {
    this.#target = target;
    this.#options = options;
    this.#sentinels = target.endpoints.map((endpoint) => this.#connect(endpoint));
    this.#pinging = setInterval(() => {
      for (const sentinel of this.#sentinels) {
        if (sentinel.status === "ready") sentinel.ping().catch(() => {}); // its connection ends by itself
      }
    }, PING_INTERVAL_MS);
  }

  /** Why no sentinel has named the master yet. */
  failure(): string {
    return this.#failure;
  }

  /** The sentinels publish what changes. */
  failed(): void {}

  /** See {@linkcode MasterFinder.follow}. */
  follow(follower: (master: Endpoint) => void): () => void {
    this.#followers.add(follower);
    if (this.#master !== undefined) follower(this.#master);
    return () => void this.#followers.delete(follower);
  }

  /** Ends the connections. */
  async close(): Promise<void> {
    clearInterval(this.#pinging);
    await Promise.all(this.#sentinels.map(disconnect));
  }

  #connect({ host, port }: Endpoint): Redis {
    const { options, backoff } = redisOptions({ host, port }, this.#target, this.#options);
    const { sentinelPassword: password } = this.#options;
    const sentinel = new Redis({ ...options, ...(password === undefined ? {} : { password }) });
    const failed = (error: unknown) => {
      this.#failure = `sentinel ${formatAddress(host, port)}: ${messageOf(error)}`;
    };
    sentinel.on("error", failed);
    sentinel.on("message", (_, message) => this.#switched(String(message)));
    sentinel.on("ready", () => {
      this.#query(sentinel).then(() => backoff.succeeded(), (error) => {
        failed(error);
        sentinel.disconnect(true);
      });
    });
    return sentinel;
  }

  /** Reads which server is the master; subscribes first, so that a failover in between is not missed. */
  async #query(sentinel: Redis): Promise<void> {
    const master = this.#target.master!;
    // A connection that has subscribed takes no other commands, so this is sent before, in the same packet.
    const [reply] = await Promise.all([
      sentinel.call("SENTINEL", "MASTER", master) as Promise<string[]>,
      sentinel.subscribe(SWITCH_MASTER),
    ]);
    const field = (name: string) => reply[reply.indexOf(name) + 1] ?? "";
    const epoch = Number(field("config-epoch"));
    if (epoch <= this.#epoch) return;
    this.#epoch = epoch;
    this.#follow({ host: field("ip"), port: Number(field("port")) });
  }

  /** `<master> <old ip> <old port> <new ip> <new port>` */
  #switched(message: string): void {
    const [name, , , host, port] = message.split(" ");
    if (name === this.#target.master && host !== undefined) this.#follow({ host, port: Number(port) });
  }

  #follow(master: Endpoint): void {
    if (master.host === this.#master?.host && master.port === this.#master.port) return;
    this.#master = master;
    for (const follower of this.#followers) follower(master);
  }
}
