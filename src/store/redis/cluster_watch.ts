/**
 * Which master of a Redis Cluster serves the slot of each shard, as the nodes report it: read once a second, and at once
 * when a connection fails or is redirected. Each shard has connections of its own, which follow its slot, as those to a
 * master follow the sentinels.
 *
 * ioredis has a client for clusters. It is not used, because it sends commands again when a connection is lost, queues
 * them without a bound while there is none, and does not send a WAIT on the connection of the write before it. What
 * Tally needs instead is little: all keys of a shard are in one slot, so a connection need not choose a node for each
 * command.
 *
 * A redirection (MOVED) is followed by connecting to the other master; the command was not executed and is sent again.
 * ASK is not followed: while a slot is migrated, a script some of whose keys do not exist runs on neither node, and gets
 * TRYAGAIN from the one that ASK names. So both are repeated until the slot has moved or the time of a command is over.
 *
 * @module
 */
import { Redis } from "ioredis";

import { formatAddress } from "../../runtime/address.ts";
import { messageOf } from "../../runtime/error_text.ts";
import { withTimeout } from "../../runtime/timeout.ts";
import { parseMoved, parseSlots, type SlotRange } from "./cluster_slots.ts";
import {
  authenticate,
  disconnect,
  type MasterFinder,
  redisOptions,
  type ServerOptions,
} from "./redis_options.ts";
import type { Endpoint, RedisTarget } from "./redis_url.ts";

/** How often the nodes are requested to report which of them serves which slots. */
const POLL_INTERVAL_MS = 1000;

/** The shortest time between two requests when connections fail. */
const MIN_POLL_INTERVAL_MS = 100;

/** A node that takes longer to report is not waited for: one that hangs must not delay what the others report. */
const REPORT_TIMEOUT_MS = 200;

/** Other nodes may report the former master of a slot for so long after one has redirected to the new one. */
const GOSSIP_MS = 1000;

/** A slot whose master is followed. */
interface FollowedSlot {
  readonly slot: number;
  readonly followers: Set<(master: Endpoint) => void>;
  master: Endpoint | undefined;
  /** When a node redirected to the master. */
  movedAtMs: number;
}

/** What a node reported. */
interface Report {
  /** Of the cluster, as this node has learned it: a node that was cut off reports an older one. */
  readonly epoch: number;
  readonly ranges: readonly SlotRange[];
}

/** A connection to a node, for its reports. */
interface Reporter {
  readonly endpoint: Endpoint;
  readonly redis: Redis;
  signedIn: boolean;
}

/** Connections to the nodes of the URL, and to the masters that are followed. */
export class ClusterWatch {
  /** Why no master is known yet. */
  failure = "no node of the cluster has replied yet";
  /** Why it cannot be used until its configuration or Tally's is changed; undefined if it can. */
  refusal: string | undefined;
  readonly #target: RedisTarget;
  readonly #options: ServerOptions;
  readonly #slots = new Map<number, FollowedSlot>();
  readonly #reporters = new Map<string, Reporter>();
  /** Connections to nodes that are to report no more. */
  readonly #ending = new Set<Promise<void>>();
  readonly #polling: ReturnType<typeof setInterval>;
  #poll: Promise<void> | undefined;
  #polledAtMs = -Infinity;
  /** Of the latest report. */
  #ranges: readonly SlotRange[] = [];
  #closed = false;

  /** Begins to connect. */
  constructor(target: RedisTarget, options: ServerOptions) {
    this.#target = target;
    this.#options = options;
    this.#selectReporters();
    this.#polling = setInterval(() => this.#refresh(), POLL_INTERVAL_MS);
  }

  /** Names the master of `slot`. */
  finder(slot: number): MasterFinder {
    const followed = this.#slots.get(slot) ?? this.#followSlot(slot);
    return {
      failure: () => this.failure,
      follow: (follower) => {
        followed.followers.add(follower);
        if (followed.master !== undefined) follower(followed.master);
        return () => void followed.followers.delete(follower);
      },
      failed: (message, master) => {
        const moved = parseMoved(message, master, this.#options.natMap);
        if (moved !== undefined) {
          followed.movedAtMs = performance.now();
          this.#follow(followed, moved);
        }
        if (performance.now() - this.#polledAtMs > MIN_POLL_INTERVAL_MS) this.#refresh();
      },
    };
  }

  /** Ends the connections. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#polling);
    const ended = [...this.#reporters.values()].map(({ redis }) => disconnect(redis));
    await Promise.all([...ended, ...this.#ending, this.#poll]);
  }

  /** Connects to the nodes that are to report, and ends the connections to others. */
  #selectReporters(): void {
    if (this.#closed) return;
    const masters = [...this.#slots.values()].flatMap(({ master }) => master ?? []);
    const wanted = new Map(
      [...this.#target.endpoints, ...masters].map((node) => [formatAddress(node.host, node.port), node]),
    );
    for (const [address, { redis }] of this.#reporters) {
      if (wanted.has(address)) continue;
      this.#reporters.delete(address);
      const ended = disconnect(redis).finally(() => this.#ending.delete(ended));
      this.#ending.add(ended);
    }
    for (const [address, endpoint] of wanted) {
      if (!this.#reporters.has(address)) this.#reporters.set(address, this.#connect(address, endpoint));
    }
  }

  #connect(address: string, endpoint: Endpoint): Reporter {
    const { options, backoff } = redisOptions(endpoint, this.#target, this.#options);
    const redis = new Redis(options);
    const reporter: Reporter = { endpoint, redis, signedIn: false };
    const failed = (error: unknown) => {
      this.failure = `node ${address}: ${messageOf(error)}`;
    };
    redis.on("error", failed);
    redis.on("close", () => {
      reporter.signedIn = false;
    });
    redis.on("ready", () => {
      authenticate(redis, this.#target).then(() => {
        reporter.signedIn = true;
        backoff.succeeded();
        this.#refresh();
      }).catch((error) => {
        failed(error);
        redis.disconnect(true);
      });
    });
    return reporter;
  }

  #followSlot(slot: number): FollowedSlot {
    const master = masterOf(slot, this.#ranges);
    const followed = { slot, followers: new Set<(master: Endpoint) => void>(), master, movedAtMs: -Infinity };
    this.#slots.set(slot, followed);
    return followed;
  }

  /** Requests reports, unless that is being done. */
  #refresh(): void {
    this.#poll ??= this.#readReports().finally(() => this.#poll = undefined);
  }

  /** Follows the latest of the reports that arrive in time. */
  async #readReports(): Promise<void> {
    this.#polledAtMs = performance.now();
    const reports: Report[] = [], errors: unknown[] = [];
    const replies = [...this.#reporters.values()].filter(({ signedIn }) => signedIn).map((reporter) =>
      this.#readReport(reporter).then((report) => reports.push(report), (error) => errors.push(error))
    );
    await withTimeout(REPORT_TIMEOUT_MS, Promise.all(replies), () => {});
    const refused = errors.filter((error) => /cluster support disabled/.test(messageOf(error)));
    this.refusal = refused.length > 0 && reports.length === 0
      ? "it is no Redis Cluster, found by its reply to CLUSTER; use redis:// in place of redis+cluster://"
      : undefined;
    if (errors.length > 0) this.failure = messageOf(errors[0]);
    const latest = reports.toSorted((a, b) => b.epoch - a.epoch)[0];
    if (latest === undefined || this.#closed) return;
    this.#ranges = latest.ranges;
    for (const followed of this.#slots.values()) {
      if (this.#polledAtMs - followed.movedAtMs < GOSSIP_MS) continue;
      const master = masterOf(followed.slot, latest.ranges);
      if (master !== undefined) this.#follow(followed, master);
      else if (followed.master === undefined) this.failure = `no node serves slot ${followed.slot}`;
    }
    this.#selectReporters();
  }

  async #readReport({ endpoint, redis }: Reporter): Promise<Report> {
    const [info, slots] = await Promise.all([
      redis.call("cluster", "info").then(String),
      redis.call("cluster", "slots"),
    ]);
    const epoch = Number(/cluster_current_epoch:(\d+)/.exec(info)?.[1]);
    return { epoch, ranges: parseSlots(slots, endpoint, this.#options.natMap) };
  }

  #follow(followed: FollowedSlot, master: Endpoint): void {
    const { host, port } = followed.master ?? {};
    if (this.#closed || (master.host === host && master.port === port)) return;
    followed.master = master;
    for (const follower of followed.followers) follower(master);
  }
}

function masterOf(slot: number, ranges: readonly SlotRange[]): Endpoint | undefined {
  return ranges.find(({ first, last }) => first <= slot && slot <= last)?.master;
}
