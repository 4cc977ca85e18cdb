/**
 * Memory for large messages that are incomplete: bounded per connection and for the process.
 *
 * Memory for a message is reserved before its bytes are kept. Without room its stream waits, in FIFO order, and flow
 * control applies backpressure to the sender; when too many wait already, the stream ends with RESOURCE_EXHAUSTED.
 *
 * @module
 */
import { RequestError } from "../../protocol/request_error.ts";

/** Messages up to this are not accounted for: with TALLY_MAX_STREAMS streams, they are its product at the most. */
export const SMALL_MESSAGE_BYTES = 16_384;

/** Bytes of incomplete messages of one connection, unless one message alone may have more. */
const CONNECTION_BYTES = 16 * 2 ** 20;

/** Bytes of incomplete messages of the process. */
const PROCESS_BYTES = 256 * 2 ** 20;

/** Streams that may wait: of one connection, and of the process. Each keeps what its window (256 KiB) let in. */
const CONNECTION_WAITERS = 16, PROCESS_WAITERS = 256;

/** What one connection has reserved, and how many of its streams wait. */
interface Account {
  bytes: number;
  waiting: number;
}

interface Waiter {
  readonly connection: object;
  readonly bytes: number;
  readonly resume: () => void;
}

/** The memory of a process. */
export class MessageMemory {
  #bytes = 0;
  readonly #connectionBytes: number;
  readonly #processBytes: number;
  readonly #waiters = new Set<Waiter>();
  /** Of connections that ever had a large message. */
  readonly #accounts = new WeakMap<object, Account>();

  /** One message of `maxMessageBytes` is always possible. */
  constructor(readonly maxMessageBytes: number) {
    this.#connectionBytes = Math.max(CONNECTION_BYTES, maxMessageBytes);
    this.#processBytes = Math.max(PROCESS_BYTES, maxMessageBytes);
  }

  /** Bytes reserved now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether streams wait for memory. */
  get contended(): boolean {
    return this.#waiters.size > 0;
  }

  /** Reserves memory for a message of `connection`; false, and reserves none, when there is no room. */
  reserve(connection: object, bytes: number): boolean {
    const account = this.#accountOf(connection);
    if (account.bytes + bytes > this.#connectionBytes || this.#bytes + bytes > this.#processBytes) {
      return false;
    }
    account.bytes += bytes;
    this.#bytes += bytes;
    return true;
  }

  /** Releases memory, and reserves it for streams that wait. */
  release(connection: object, bytes: number): void {
    this.#accountOf(connection).bytes -= bytes;
    this.#bytes -= bytes;
    for (const waiter of this.#waiters) {
      if (this.#bytes >= this.#processBytes) return;
      if (!this.reserve(waiter.connection, waiter.bytes)) continue;
      this.#remove(waiter);
      waiter.resume();
    }
  }

  /**
   * Calls `resume` once the memory is reserved. Returns the function that cancels the wait; undefined: too many
   * streams wait already.
   */
  wait(connection: object, bytes: number, resume: () => void): (() => void) | undefined {
    const account = this.#accountOf(connection);
    if (account.waiting >= CONNECTION_WAITERS || this.#waiters.size >= PROCESS_WAITERS) return undefined;
    const waiter = { connection, bytes, resume };
    this.#waiters.add(waiter);
    account.waiting++;
    return () => this.#remove(waiter);
  }

  #remove(waiter: Waiter): void {
    if (this.#waiters.delete(waiter)) this.#accountOf(waiter.connection).waiting--;
  }

  #accountOf(connection: object): Account {
    let account = this.#accounts.get(connection);
    if (account === undefined) this.#accounts.set(connection, account = { bytes: 0, waiting: 0 });
    return account;
  }
}

/** The error of a call that finds no memory. */
export function tooManyLargeMessages(): RequestError {
  const found = "too many large messages are incomplete at once";
  return new RequestError("RESOURCE_EXHAUSTED", `${found}: send smaller ones, or fewer at a time`);
}
