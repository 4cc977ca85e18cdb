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

import type { AckAfter } from "../packets.ts";
import { StoreError } from "../store_error.ts";
import { Durability } from "./durability.ts";
import type { ShardKeys } from "./keys.ts";
import { LAYOUT_VERSION } from "./layout.ts";
import {
  type Argument,
  type Command,
  Connection,
  type ConnectionOptions,
  evalCommand,
  watchSentinels,
} from "./redis_connection.ts";
import type { SentinelWatch } from "./sentinel_watch.ts";
import { isLayoutError, upgradeScript } from "./scripts.ts";
import { checkServer, parseInfo, type ServerInfo } from "./server_info.ts";

/** Where Redis is, and how it is used. */
export interface RedisStoreOptions extends ConnectionOptions {
  /** What `apply` and `claimSession` wait for. */
  readonly ackAfter: AckAfter;
}

/** What a script is run with; `attempt` completes "could not …". */
export type ScriptCall = readonly [
  attempt: string,
  script: string,
  keys: readonly string[],
  args: readonly Argument[],
];

/** Runs scripts on data of this program's layout. */
export class RedisClient {
  /** Where it leads; holds no credentials. */
  readonly address: string;
  /** Names of its keys. */
  readonly keys: ShardKeys;
  /** WAIT blocks its connection, so readers have one of their own. */
  readonly #writes: Connection;
  readonly #reads: Connection;
  readonly #sentinels: SentinelWatch | undefined;
  readonly #ackAfter: AckAfter;
  readonly #durability: Durability;
  readonly #log: Logger;
  #isServerChecked = false;
  #upgrading: Promise<number> | undefined;

  /** Begins to connect. */
  constructor(options: RedisStoreOptions, keys: ShardKeys) {
    this.keys = keys;
    const { ackAfter, commandTimeoutMs, log } = options;
    this.#ackAfter = ackAfter;
    this.#log = log;
    this.#sentinels = watchSentinels(options);
    this.#writes = new Connection(options, "writes", this.#sentinels);
    this.#reads = new Connection(options, "reads", this.#sentinels);
    // Half for the replicas or the disk; half for the script before, and the round trip.
    const durabilityTimeoutMs = Math.max(1, Math.floor(commandTimeoutMs / 2));
    this.#durability = new Durability(this.#writes, ackAfter, durabilityTimeoutMs);
    this.address = this.#writes.address;
  }

  /**
   * Waits for the first attempt to connect, checks the server, and upgrades the data. Resolves also when the server
   * cannot be reached: the checks then come with the calls.
   *
   * @throws {StoreError} The server cannot be used, or the data has a newer layout.
   */
  async open(timeoutMs: number): Promise<void> {
    await Promise.all([this.#writes.firstAttempt(timeoutMs), this.#reads.firstAttempt(timeoutMs)]);
    const { refusal } = this.#writes;
    if (refusal !== undefined) throw new StoreError(`could not use Redis at ${this.address}: ${refusal}`);
    const info = await this.#info().catch(() => undefined);
    if (info !== undefined) this.#checkServer(info);
    const layout = await this.#upgrade().catch(() => undefined);
    if (layout !== undefined) this.#refuseNewer(layout);
  }

  /** Runs a script that only reads; resolves to its reply. */
  read(...call: ScriptCall): Promise<unknown> {
    return this.#onLayout(() => this.#evaluate(this.#reads, call));
  }

  /** Runs a script that writes; resolves to its reply. */
  write(...call: ScriptCall): Promise<unknown> {
    return this.#onLayout(() => this.#evaluate(this.#writes, call));
  }

  /** As {@linkcode RedisClient.write}; resolves when what was written is as durable as `ackAfter` requires. */
  async writeDurably(...[attempt, script, keys, args]: ScriptCall): Promise<unknown> {
    await this.checkServer();
    const command = evalCommand(script, [...keys, this.keys.layout], args);
    return await this.#onLayout(() => this.#durability.send(attempt, command));
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
    await this.#sentinels?.close();
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
    this.#refuseNewer(await this.#upgrade());
    return await send();
  }

  /** Resolves to the layout that was found. Calls that find an older one at once share one upgrade. */
  #upgrade(): Promise<number> {
    return this.#upgrading ??= this.#runUpgrade().finally(() => this.#upgrading = undefined);
  }

  async #runUpgrade(): Promise<number> {
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
    return found;
  }

  #refuseNewer(layout: number): void {
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
