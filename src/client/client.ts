/**
 * Sends packets to Tally so that each is counted once, through failures of the network, of Tally and, with
 * a file, of this process.
 *
 * ```ts
 * const client = await TelemetryClient.open({ target: "localhost:50051" });
 * await client.send({ device_id: "sensor-1", timestamp: Date.now(), payload: new Uint8Array([1, 2, 3]) });
 * const totals = await client.close(); // each packet is stored, or rejected: totals.rejected
 * ```
 *
 * A client keeps every packet until it is settled: Tally has stored it, or rejected it for a reason. When a
 * connection ends, the client opens another and continues with the first packet that is not settled.
 *
 * @module
 */
import { setImmediate } from "node:timers";

import type { Ack, Packet } from "../protocol/messages.ts";
import type { CallStart, ClaimedSession } from "./call.ts";
import { committedTooLow, fileFailed, sessionShared, TelemetryClientError } from "./client_error.ts";
import {
  type ClientTls,
  type KeepAcked,
  type ResolvedOptions,
  resolveOptions,
  type TelemetryClientOptions,
  type TokenSource,
} from "./client_options.ts";
import { ConnectionLoop } from "./connection_loop.ts";
import { EncodedPacket } from "./encoded_packet.ts";
import { bufferOf, type Damage, Journal, type Recovered, type Recovery, recoveryOf } from "./journal.ts";
import { JournalWriter } from "./journal_writer.ts";
import { KeptPackets } from "./kept_packets.ts";
import { Outgoing } from "./outgoing.ts";
import { PacketBuffer } from "./packet_buffer.ts";
import { AckCounter, type Rejection, type Totals } from "./totals.ts";

export { TelemetryClientError };
export type { ClientTls, KeepAcked, TelemetryClientOptions, TokenSource };
export type { Damage, Packet, Recovery, Rejection, Totals };

/**
 * Tally's message limit is 4 MiB unless its operator has set another, and a packet must fit in one message.
 * Larger ones are refused here: no retry would succeed.
 */
const MAX_PACKET_BYTES = 4 * 1024 * 1024 - 1024;

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Sends the packets of a device, or of a gateway's devices. See the module's example. */
export class TelemetryClient implements AsyncDisposable {
  /** The session's name; see {@linkcode TelemetryClientOptions.session}. */
  readonly session: string;

  /** The contents of the file when it was opened; empty without a file. */
  readonly recovered: Recovery;

  readonly #options: ResolvedOptions;
  readonly #buffer: PacketBuffer;
  readonly #kept: KeptPackets;
  readonly #encoded = new EncodedPacket();
  readonly #sends: (Waiting & { readonly bytes: Uint8Array })[] = [];
  readonly #flushes: (Waiting & { readonly index: number })[] = [];

  readonly #connection: ConnectionLoop;
  readonly #journalWriter: JournalWriter | undefined;
  readonly #closed = Promise.withResolvers<void>();
  #closing = false;
  #shutDownBegun = false;
  #failure: Error | undefined;

  /**
   * An index in the session is the buffer's index plus this; known from the first response on. Not zero
   * when earlier packets of the session are not in this client's buffer.
   */
  #origin = 0;
  #originKnown = false;
  readonly #outgoing: Outgoing;
  /** Index after the last packet that was ever written. */
  #sentEnd: number;
  #writable = true;
  #pumpScheduled = false;
  readonly #firstIndex: number;
  readonly #counter = new AckCounter();

  /**
   * Opens the file, if there is one, and starts to connect. It does not wait for Tally: packets may be sent at
   * once. Rejects if an option is wrong or the file cannot be used.
   */
  static async open(options: TelemetryClientOptions): Promise<TelemetryClient> {
    const resolved = resolveOptions(options);
    if (options.file === undefined) {
      const session = options.session ?? crypto.randomUUID();
      return new TelemetryClient(resolved, session, new PacketBuffer());
    }
    const { journal, recovered } = await Journal.open(options.file, { sync: options.fileSync ?? false });
    try {
      return new TelemetryClient(resolved, journal.session, bufferOf(recovered), journal, recovered);
    } catch (error) {
      journal.close();
      throw error;
    }
  }

  private constructor(
    options: ResolvedOptions,
    session: string,
    buffer: PacketBuffer,
    journal?: Journal,
    recovered?: Recovered,
  ) {
    this.session = session;
    this.recovered = recoveryOf(buffer, recovered);
    this.#options = options;
    this.#buffer = buffer;
    this.#kept = new KeptPackets(buffer, options.keepAcked, recovered?.claim, performance.now());
    this.#firstIndex = buffer.start;
    this.#sentEnd = buffer.end; // an earlier process may have sent what the file holds
    this.#outgoing = new Outgoing(buffer);
    if (journal !== undefined) {
      const onError = (error: unknown) => this.#writingFailed(error);
      const onWritten = () => this.#schedulePump(), { claim } = this.#kept;
      this.#journalWriter = new JournalWriter({ journal, buffer, claim, onWritten, onError });
    }
    this.#connection = new ConnectionLoop(options, session, journal !== undefined, {
      nextStart: () => this.#kept.nextStart(this.#origin),
      awaitsAck: () => this.#outgoing.index > this.#buffer.start,
      opened: (start, session) => this.#opened(start, session),
      acked: (ack) => this.#acked(ack),
      writable: () => {
        this.#writable = true;
        this.#pump();
      },
      ended: (committed, exhausted) => this.#ended(committed, exhausted),
      failed: (error) => this.#fail(error),
      finished: () => this.#shutDown(),
    });
    this.#connection.connect();
  }

  /** The results of the packets so far. */
  get totals(): Totals {
    const { end, start, packets } = this.#buffer;
    return this.#counter.totals(end - this.#firstIndex, packets, start + this.#origin);
  }

  /**
   * Accepts a packet to be sent; resolves when it is in the buffer, and in the file if there is one. While the
   * buffer is full it waits, in the order of the calls: await it before producing more packets.
   *
   * Rejects with a `TypeError` or `RangeError` for values that no packet can have, and with the client's error
   * when it is closed or has failed for good. The rules of `proto/telemetry.proto` are checked by Tally: see
   * {@linkcode TelemetryClientOptions.onRejected}.
   */
  send(packet: Packet): Promise<void> {
    try {
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#closing) throw new TelemetryClientError("Cannot send a packet: the client is closed");
      this.#encoded.set(packet);
      const limit = Math.min(MAX_PACKET_BYTES, this.#options.maxBufferedBytes);
      if (this.#encoded.size > limit) {
        throw new RangeError(`Cannot send a packet of ${this.#encoded.size} bytes: the limit is ${limit}`);
      }
    } catch (error) {
      return Promise.reject(error);
    }
    if (this.#sends.length === 0 && this.#hasRoom(this.#encoded.size)) {
      this.#buffer.add(this.#encoded);
      return this.#accepted();
    }
    const bytes = new Uint8Array(this.#encoded.size);
    this.#encoded.write(bytes, 0);
    return new Promise((resolve, reject) => this.#sends.push({ bytes, resolve, reject }));
  }

  /**
   * Resolves when every packet passed to {@linkcode send} so far is settled; waits without a time limit.
   * Rejects when the client fails for good or is aborted before.
   */
  async flush(): Promise<Totals> {
    const index = this.#buffer.end + this.#sends.length;
    if (this.#buffer.start < index) {
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve, reject) => this.#flushes.push({ index, resolve, reject }));
    }
    return this.totals;
  }

  /**
   * Flushes, ends the connection and closes the file; further packets are refused. Rejects as
   * {@linkcode flush} does. {@linkcode abort} ends the wait.
   */
  async close(): Promise<Totals> {
    this.#closing = true;
    const totals = await this.flush();
    if (!this.#shutDownBegun) this.#connection.end();
    await this.#closed.promise;
    return totals;
  }

  /**
   * Ends the connection and closes the file at once. Packets that are not settled remain in the file.
   * Pending calls of `send`, `flush` and `close` reject with `reason`. Without effect on a closed client.
   */
  async abort(reason: Error = new TelemetryClientError("the client was aborted")): Promise<void> {
    this.#fail(reason);
    await this.#closed.promise;
  }

  /** For `await using`: {@linkcode abort}. Call {@linkcode close} before, so that packets arrive. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.abort();
  }

  #opened({ offset }: CallStart, session: ClaimedSession): void {
    const { committed, maxMessageBytes = Infinity, claim, lost } = session;
    const moved = !this.#originKnown && committed > this.#sentEnd;
    if (moved) this.#origin = committed - this.#sentEnd;
    this.#originKnown = true;
    const index = committed - this.#origin;
    if (index > this.#sentEnd) return this.#fail(sessionShared(this.session));
    if (index < this.#buffer.oldest) return this.#fail(committedTooLow(committed));
    if (index > this.#buffer.start) this.#kept.acked(); // in the call before
    this.#kept.opened(claim);
    this.#counter.lost += lost;
    this.#counter.refilled += this.#buffer.reopen(index);
    this.#settleUnknown(index);
    if (lost > 0) this.#options.onLost(lost);
    if (moved) {
      this.#kept.clear(); // Their indexes are not those that they had.
      this.#journalWriter?.renumbered(this.#origin);
    }
    // The first packet of this call would be number `offset`: a new call starts at the right one.
    if (committed > offset) return this.#connection.restart();
    this.#counter.newCall();
    this.#outgoing.restart(maxMessageBytes);
    this.#writable = true;
    if (this.#buffer.packets === 0) this.#connection.succeeded();
    this.#pump();
    this.#options.onConnected();
  }

  #acked(ack: Ack): void {
    const index = ack.committed - this.#origin;
    if (index > this.#sentEnd) return this.#fail(sessionShared(this.session));
    if (index > this.#buffer.start) this.#kept.acked();
    const rejections = this.#counter.add(ack, this.#outgoing.settle(this.#buffer.start, index));
    this.#settle(index);
    for (const rejection of rejections) this.#options.onRejected(rejection);
  }

  #ended(committed = 0, exhausted: boolean): void {
    if (exhausted) this.#outgoing.refused();
    const index = committed - this.#origin;
    if (!this.#originKnown || index > this.#sentEnd || index <= this.#buffer.start) return;
    this.#kept.acked();
    this.#settleUnknown(index);
  }

  /** The packets before `index` are settled, with unknown results: no Ack has come. */
  #settleUnknown(index: number): void {
    if (index <= this.#buffer.start) return;
    const omitted = this.#outgoing.settle(this.#buffer.start, index);
    const rejections = this.#counter.addSettledUnknown(index - this.#buffer.start, omitted);
    this.#settle(index);
    for (const rejection of rejections) this.#options.onRejected(rejection);
  }

  #hasRoom(bytes: number): boolean {
    const { maxBufferedPackets, maxBufferedBytes } = this.#options;
    return this.#buffer.packets < maxBufferedPackets && this.#buffer.bytes + bytes <= maxBufferedBytes;
  }

  #accepted(): Promise<void> {
    if (this.#journalWriter !== undefined) return this.#journalWriter.added();
    this.#schedulePump();
    return DONE;
  }

  /** Delayed to the end of the turn: packets sent in one turn of the event loop share a message. */
  #schedulePump(): void {
    if (this.#pumpScheduled || !this.#connection.connected || !this.#writable) return;
    this.#pumpScheduled = true;
    setImmediate(() => {
      this.#pumpScheduled = false;
      this.#pump();
    });
  }

  #pump(): void {
    if (!this.#connection.connected) return;
    const nothingSent = this.#outgoing.index === this.#buffer.start;
    while (this.#writable) {
      const bytes = this.#outgoing.next(this.#journalWriter?.written);
      if (bytes === undefined) break;
      this.#writable = this.#connection.write(bytes);
    }
    this.#sentEnd = Math.max(this.#sentEnd, this.#outgoing.index);
    if (nothingSent && this.#outgoing.index > this.#buffer.start) this.#connection.progress();
  }

  /** The packets before `index` are settled. */
  #settle(index: number): void {
    if (index <= this.#buffer.start) return;
    this.#buffer.settle(index);
    this.#kept.settled(performance.now());
    this.#connection.succeeded();
    while (this.#sends.length > 0 && this.#hasRoom(this.#sends[0]!.bytes.length)) {
      const { bytes, resolve, reject } = this.#sends.shift()!;
      this.#buffer.addBatch(bytes);
      this.#accepted().then(resolve, reject);
    }
    while (this.#flushes.length > 0 && this.#flushes[0]!.index <= index) this.#flushes.shift()!.resolve();
    this.#journalWriter?.settled(this.#kept.claim);
  }

  #fail(error: Error): void {
    if (this.#shutDownBegun) return;
    this.#failure = error;
    this.#shutDown();
    for (const { reject } of [...this.#sends.splice(0), ...this.#flushes.splice(0)]) reject(error);
  }

  #writingFailed(error: unknown): Error {
    const failure = fileFailed(error);
    this.#fail(failure);
    return failure;
  }

  #shutDown(): void {
    if (this.#shutDownBegun) return;
    this.#shutDownBegun = true;
    this.#connection.close();
    const closed = this.#journalWriter?.close(
      this.#failure ?? new TelemetryClientError("the client is closed"),
    );
    Promise.resolve(closed).then(this.#closed.resolve);
  }
}

const DONE = Promise.resolve();
