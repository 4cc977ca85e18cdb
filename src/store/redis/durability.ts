/**
 * Waits until a write to Redis is as durable as `ackAfter` requires.
 *
 * @module
 */
import type { AckAfter } from "../packets.ts";
import type { Command } from "./redis_command.ts";
import type { Connection } from "./redis_connection.ts";

/** Of the writes of one connection. */
export class Durability {
  readonly #connection: Connection;
  readonly #ackAfter: AckAfter;
  readonly #timeoutMs: number;

  /** `timeoutMs`: limit for the replicas or the disk. */
  constructor(connection: Connection, ackAfter: AckAfter, timeoutMs: number) {
    this.#connection = connection;
    this.#ackAfter = ackAfter;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Sends the commands `before`, `command`, and with them the one that resolves when all that the connection wrote is as
   * durable as required. Resolves to the reply to `command`; throws {@linkcode StoreError} unless all succeed.
   */
  async send(attempt: string, command: Command, before: readonly Command[] = []): Promise<unknown> {
    const replies = await this.#connection.send(attempt, ...before, command, ...this.#wait());
    this.#check(attempt, replies[before.length + 1]);
    return replies[before.length];
  }

  #wait(): Command[] {
    const { kind } = this.#ackAfter;
    if (kind === "stored") return [];
    return kind === "replicated"
      ? [["wait", this.#ackAfter.replicas, this.#timeoutMs]]
      : [["waitaof", 1, 0, this.#timeoutMs]];
  }

  #check(attempt: string, reply: unknown): void {
    if (this.#ackAfter.kind === "replicated") {
      const found = reply as number;
      const { replicas } = this.#ackAfter;
      if (found >= replicas) return;
      throw this.#connection.failure(
        attempt,
        `${found} of ${replicas} replicas have it after ${this.#timeoutMs} ms: ` +
          `look at INFO replication, or require fewer replicas`,
      );
    } else if (this.#ackAfter.kind === "synced") {
      const [synced] = reply as [number, number];
      if (synced >= 1) return;
      throw this.#connection.failure(
        attempt,
        `the append-only file was not synced within ${this.#timeoutMs} ms: ` +
          `look at appendfsync and the disk, or allow more time`,
      );
    }
  }
}
