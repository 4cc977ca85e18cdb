/**
 * The connections of one store, and what must hold before they are used: a server that can make writes durable, and
 * data of this program's layout.
 *
 * Every script checks the layout itself, in the same atomic step as its work. Data of an older layout is upgraded
 * in one step by whichever process finds it first: at the start, or later, if a backup was restored meanwhile. A
 * process that is older than the data reads and writes nothing from then on: its calls reject, so devices keep
 * their packets until a newer process serves them. Tally from before layouts were numbered does not check; it can
 * run beside this one only if it writes the bytes of layout 4.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import type { PayloadOptions } from "../../payload/payload_decoder.ts";
import type { AckAfter } from "../packets.ts";
import { StoreError } from "../store_error.ts";
import { Durability } from "./durability.ts";
import { type ShardKeys, shardKeys } from "./keys.ts";
import { LAYOUT_VERSION } from "./layout.ts";
import { type Argument, type Command, evalCommand } from "./redis_command.ts";
import type { Connection, ConnectionOptions } from "./redis_connection.ts";
import { isLayoutError, upgradeScript } from "./scripts.ts";
import { checkServer, parseInfo, type ServerInfo } from "./server_info.ts";
import type { ShardConnections } from "./shard_connections.ts";

/** Where Redis is, and how it is used. */
export interface RedisStoreOptions extends ConnectionOptions {
  /** What `apply` and `claimSession` wait for. */
  readonly ackAfter: AckAfter;
  /**
   * Devices of a batch, in all shards, from which on its packets are counted later, see `deferred_packets.ts`; 0: never.
   */
  readonly deferFrom?: number;
  /** How payloads are decoded; undefined: values are not kept. */
  readonly values?: PayloadOptions | undefined;
}

/** What a script is run with; `attempt` completes "could not …". */
export type ScriptCall = readonly [
  attempt: string,
  script: string,
  keys: readonly string[],
  args: readonly Argument[],
];

/** What an upgrade found. */
interface Found {
  readonly layout: number;
  readonly shards: number;
}

/** Runs scripts on the data of one shard, of this program's layout. */
export class RedisClient {
  /** Where it leads; holds no credentials. */
  readonly address: string;
  /** Names of its keys. */
  readonly keys: ShardKeys;
  /** Payloads are sampled. */
  readonly keepsValues: boolean;
  /** WAIT blocks its connection, so readers have one of their own. */
  readonly #writes: Connection;
  readonly #reads: Connection;
  readonly #shards: ShardConnections;
  readonly #ackAfter: AckAfter;
  readonly #durability: Durability;
  readonly #log: Logger;
  #isServerChecked = false;
  #upgrading: Promise<Found> | undefined;

  /** How many shards the store has. */
  get shards(): number {
    return this.#shards.shards;
  }

  /** Begins to connect; `shard`: number of the shard, from 0 on. */
  constructor(options: RedisStoreOptions, shards: ShardConnections, shard: number) {
    const { ackAfter, commandTimeoutMs, log } = options;
    const isOneOfMany = shards.shards > 1, ofShard = isOneOfMany ? ` of shard ${shard}` : "";
    this.keepsValues = options.values !== undefined;
    this.#ackAfter = ackAfter;
    this.#log = log;
    this.#shards = shards;
    this.keys = shardKeys(shard, shards.shards);
    this.address = `${shards.address}${isOneOfMany ? `, shard ${shard}` : ""}`;
    this.#writes = shards.connect(`writes${ofShard}`, this.keys);
    this.#reads = shards.connect(`reads${ofShard}`, this.keys);
    // Half for the replicas or the disk; half for the script before, and the round trip.
    const durabilityTimeoutMs = Math.max(1, Math.floor(commandTimeoutMs / 2));
    this.#durability = new Durability(this.#writes, ackAfter, durabilityTimeoutMs);
  }

  /**
   * Waits for the first attempt to connect, checks the server, and upgrades the data. Resolves also when the server
   * cannot be reached: the checks then come with the calls.
   *
   * @throws {StoreError} The server cannot be used, or the data has a newer layout or another number of shards.
   */
  async open(timeoutMs: number): Promise<void> {
    await Promise.all([this.#writes.firstAttempt(timeoutMs), this.#reads.firstAttempt(timeoutMs)]);
    const refusal = this.#writes.refusal ?? this.#shards.refusal;
    if (refusal !== undefined) throw new StoreError(`could not use Redis at ${this.address}: ${refusal}`);
    const info = await this.#info().catch(() => undefined);
    if (info !== undefined) this.#checkServer(info);
    const found = await this.#upgrade().catch(() => undefined);
    if (found !== undefined) this.#refuseOther(found);
  }

  /** The server that it writes to now. */
  get server(): string {
    return this.#writes.address;
  }

  /** Runs a script that only reads; resolves to its reply. */
  read(...call: ScriptCall): Promise<unknown> {
    return this.#onLayout(() => this.#evaluate(this.#reads, call));
  }

  /** Runs a script that writes; resolves to its reply. */
  write(...call: ScriptCall): Promise<unknown> {
    return this.#onLayout(() => this.#evaluate(this.#writes, call));
  }

  /**
   * As {@linkcode RedisClient.write}; resolves when what was written is as durable as `ackAfter` requires. `before`: sent
   * before the script.
   */
  async writeDurably(
    [attempt, script, keys, args]: ScriptCall,
    ...before: readonly Command[]
  ): Promise<unknown> {
    await this.checkServer();
    const command = evalCommand(script, [...keys, this.keys.layout], args);
    return await this.#onLayout(() => this.#durability.send(attempt, command, before));
  }

  /** Sends commands that do not depend on the layout, on the connection of the readers. */
  send(attempt: string, ...commands: readonly Command[]): Promise<readonly unknown[]> {
    return this.#reads.send(attempt, ...commands);
  }

  /** Throws {@linkcode StoreError} if the server cannot do what `ackAfter` requires. Checks until it succeeds once. */
  async checkServer(): Promise<void> {
    if (this.#ackAfter.kind === "synced" && !this.#isServerChecked) this.#checkServer(await this.#info());
  }

  /** Ends the connections; calls in flight reject. */
  async close(): Promise<void> {
    await Promise.all([this.#writes.close(), this.#reads.close()]);
  }

  #evaluate(connection: Connection, [attempt, script, keys, args]: ScriptCall): Promise<unknown> {
    return connection.evaluate(attempt, script, [...keys, this.keys.layout], args);
  }

  /** A script that finds another layout does nothing, so it can be sent again after the upgrade. */
  async #onLayout(send: () => Promise<unknown>): Promise<unknown> {
    try {
      return await send();
    } catch (error) {
      const { cause } = error as StoreError;
      if (!(cause instanceof Error && isLayoutError(cause.message))) throw error;
    }
    this.#refuseOther(await this.#upgrade());
    return await send();
  }

  /** Calls that find an older one at once share one upgrade. */
  #upgrade(): Promise<Found> {
    return this.#upgrading ??= this.#runUpgrade().finally(() => this.#upgrading = undefined);
  }

  async #runUpgrade(): Promise<Found> {
    const shards = await this.#shards.shardCount(this.#writes);
    if (shards !== this.#shards.shards) return { layout: LAYOUT_VERSION, shards };
    const names = this.keys;
    const keys = [
      ...[names.layout, names.counts, names.records, names.payloads, names.version, names.changes],
      ...[names.lineage, names.nothing, names.textRecords],
    ];
    const found = await this.#writes.evaluate("upgrade the data", upgradeScript, keys, []) as number;
    if (found < LAYOUT_VERSION) {
      this.#log.info("the data in Redis at {address} was upgraded from layout {found} to {layout}", {
        address: this.address,
        found,
        layout: LAYOUT_VERSION,
      });
    }
    return { layout: found, shards };
  }

  #refuseOther({ layout, shards }: Found): void {
    if (shards !== this.#shards.shards) {
      throw new StoreError(
        `could not use the data in Redis at ${this.#shards.address}: it is divided into ${shards} ` +
          `shard${
            shards === 1 ? "" : "s"
          }, and TALLY_SHARDS is ${this.#shards.shards}: set it to ${shards}, ` +
          `as it cannot change once there is data, or use an empty Redis`,
      );
    }
    if (layout <= LAYOUT_VERSION) return;
    throw new StoreError(
      `could not use the data in Redis at ${this.address}: found layout ${layout}, this program supports ` +
        `layouts up to ${LAYOUT_VERSION}: update Tally, or use another database`,
    );
  }

  async #info(): Promise<ServerInfo> {
    const [text] = await this.#writes.send("read INFO", ["info"]);
    return parseInfo(String(text));
  }

  #checkServer(info: ServerInfo): void {
    checkServer(info, this.#ackAfter, this.address, this.#log);
    this.#isServerChecked = true;
  }
}
