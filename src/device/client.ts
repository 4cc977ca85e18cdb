/**
 * Sends packets to Tally so that each is counted once, whatever happens to the network, to Tally or, with
 * a file, to this process.
 *
 * ```ts
 * const client = await TelemetryClient.open({ target: "localhost:50051" });
 * await client.send({ device_id: "sensor-1", timestamp: Date.now(), payload: new Uint8Array([1, 2, 3]) });
 * const totals = await client.close(); // all is stored, or refused: totals.rejected
 * ```
 *
 * A client keeps every packet until Tally says that it is settled: stored, or rejected for a reason. When
 * a connection ends, the client makes another and goes on from the first packet that is not settled.
 *
 * @module
 */
import { setImmediate } from "node:timers";

import { type Client, status, type StatusObject } from "@grpc/grpc-js";

import { RejectReason } from "../ingest/reject_reason.ts";
import type { Ack, Packet } from "../telemetry_proto.ts";
import { DeviceCall, openChannel } from "./call.ts";
import { type ResolvedOptions, resolveOptions, type TelemetryClientOptions } from "./client_options.ts";
import { Journal } from "./journal.ts";
import { type Cursor, EncodedPacket, PacketBuffer } from "./packet_buffer.ts";

export type { Packet, TelemetryClientOptions };

/** Packets rejected for one reason. */
export interface Rejection {
  /** Name of a `RejectReason` of the proto, such as `DEVICE_ID_EMPTY`. */
  readonly reason: string;
  /** How many. */
  readonly packets: number;
}

/** What a client found in its file. */
export interface Recovery {
  /** Packets that were not settled; they are sent first. */
  readonly packets: number;
  /** Bytes at the end of the file that made no whole record and were cut off: a write the process died in. */
  readonly tornBytes: number;
}

/** What became of a client's packets, over all its connections. */
export interface Totals {
  /** Given to `send`, or found in the file; each is one of the four below. */
  readonly accepted: number;
  /** Counted. */
  readonly stored: number;
  /** Refused for one of {@linkcode rejections}; never sent again. */
  readonly rejected: number;
  /**
   * Stored or rejected, but the Ack that told which was lost with a connection: on reconnecting, Tally
   * says only how many packets it has settled.
   */
  readonly unreported: number;
  /** Not settled yet. */
  readonly pending: number;
  /** The rejected packets by reason. */
  readonly rejections: readonly Rejection[];
  /** Index in the session of the first packet that is not settled. */
  readonly committed: number;
}

/** Why a client lost its connection, or gave up for good. */
export class TelemetryClientError extends Error {
  /** Tells it from other errors where `instanceof` cannot. */
  override readonly name = "TelemetryClientError";
  /** gRPC's status, such as `UNAVAILABLE`, if the error came with one. */
  readonly code: string | undefined;

  /** `message` says what was attempted, what was found and what to do. */
  constructor(message: string, code?: string) {
    super(message);
    this.code = code;
  }
}

/** Statuses after which another attempt would end the same way. */
const FINAL_STATUSES: ReadonlySet<status> = new Set([
  status.INVALID_ARGUMENT,
  status.FAILED_PRECONDITION,
  status.UNIMPLEMENTED,
  status.UNAUTHENTICATED,
  status.PERMISSION_DENIED,
]);

/**
 * A call that got no answer may still claim the session on the server, late, and so end the call after it
 * with ABORTED. Longer than any server takes over a claim.
 */
const LATE_CLAIM_MS = 60_000;

/**
 * Tally's message limit is 4 MiB unless its operator has set another; a packet needs one message. Larger
 * ones are refused here, because no reconnecting would ever get them through.
 */
const MAX_PACKET_BYTES = 4 * 1024 * 1024 - 1024;

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

type State =
  /** Waiting to connect again. */
  | "paused"
  /** A call has been started, and nothing has come back. */
  | "connecting"
  /** Packets may be sent. */
  | "connected"
  /** All is settled, and the server has been told that no more packets come. */
  | "ending"
  /** Closed, aborted, or failed for good. */
  | "over";

/** A device's, or a gateway's, way to Tally. See the module's example. */
export class TelemetryClient implements AsyncDisposable {
  /** The session's name; see {@linkcode TelemetryClientOptions.session}. */
  readonly session: string;

  /** What the file held when it was opened; nothing without a file. */
  readonly recovered: Recovery;

  readonly #options: ResolvedOptions;
  readonly #buffer: PacketBuffer;
  readonly #encoded = new EncodedPacket();
  readonly #sends: (Waiting & { readonly bytes: Uint8Array })[] = [];
  readonly #flushes: (Waiting & { readonly index: number })[] = [];

  #state: State = "paused";
  #closing = false;
  #failure: Error | undefined;
  readonly #over = Promise.withResolvers<void>();

  #channel: Client | undefined;
  #call: DeviceCall | undefined;
  /** Calls in a row that found out, when they were answered, that they had begun at a settled packet. */
  #restarts = 0;
  /** Failed attempts in a row. */
  #attempts = 0;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #stallTimer: ReturnType<typeof setTimeout> | undefined;
  /** When a call last ended without an answer. */
  #unansweredAtMs = -Infinity;

  /**
   * An index in the session is the buffer's index plus this; known from the first answer on. Not zero
   * when the session has packets that this client knows nothing of.
   */
  #origin = 0;
  #originKnown = false;
  /** The next packet to write on this call; the packet after all that were ever written. */
  #unsent: Cursor;
  #sentEnd: number;
  #writable = true;
  #pumpScheduled = false;

  readonly #journal: Journal | undefined;
  /** The first packet that is not in the file. */
  #unsaved: Cursor | undefined;
  #saved: PromiseWithResolvers<void> | undefined;
  #saving: Promise<void> | undefined;
  #settledToSave = false;
  #rewriteDue = false;

  readonly #firstIndex: number;
  #stored = 0;
  #rejected = 0;
  #unreported = 0;
  readonly #rejections = new Map<string, number>();
  /** The call's last Ack. */
  #ack: Ack | undefined;

  /**
   * Opens the file, if there is one, and begins to connect; it does not wait for Tally, and packets may
   * be sent at once. Rejects if an option is wrong or the file cannot be used.
   */
  static async open(options: TelemetryClientOptions): Promise<TelemetryClient> {
    const resolved = resolveOptions(options);
    if (options.file === undefined) {
      const session = options.session ?? crypto.randomUUID();
      return new TelemetryClient(resolved, session, new PacketBuffer(), undefined, 0);
    }
    const { journal, recovered } = await Journal.open(options.file, { sync: options.fileSync ?? false });
    try {
      const { batches, settled, tornBytes } = recovered;
      const buffer = new PacketBuffer(batches[0]?.first ?? settled);
      for (const { bytes } of batches) buffer.addBatch(bytes);
      buffer.forget(settled);
      return new TelemetryClient(resolved, journal.session, buffer, journal, tornBytes);
    } catch (error) {
      journal.close();
      throw error;
    }
  }

  private constructor(
    options: ResolvedOptions,
    session: string,
    buffer: PacketBuffer,
    journal: Journal | undefined,
    tornBytes: number,
  ) {
    this.session = session;
    this.recovered = { packets: buffer.packets, tornBytes };
    this.#options = options;
    this.#buffer = buffer;
    this.#firstIndex = buffer.start;
    this.#sentEnd = buffer.end; // an earlier process may have sent what the file holds
    this.#unsent = buffer.cursor();
    this.#journal = journal;
    if (journal !== undefined) {
      this.#unsaved = buffer.cursor();
      while (this.#unsaved.take() !== undefined); // all that is here is from the file
      this.#unansweredAtMs = performance.now(); // and so may a call be that has not been answered
    }
    this.#connect();
  }

  /** What became of the packets so far. */
  get totals(): Totals {
    return {
      accepted: this.#buffer.end - this.#firstIndex,
      stored: this.#stored,
      rejected: this.#rejected,
      unreported: this.#unreported,
      pending: this.#buffer.packets,
      rejections: Array.from(this.#rejections, ([reason, packets]) => ({ reason, packets })),
      committed: this.#buffer.start + this.#origin,
    };
  }

  /**
   * Takes a packet to be sent; resolves when it is in the buffer, and in the file if there is one. While
   * the buffer is full it waits, in the order of the calls: await it before making more packets.
   *
   * Rejects with a `TypeError` or `RangeError` for what no packet can hold, and with the client's error
   * when it was closed or has failed for good. Whether a packet keeps the rules of `proto/telemetry.proto`
   * is for Tally to say: see {@linkcode TelemetryClientOptions.onRejected}.
   */
  send(packet: Packet): Promise<void> {
    try {
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#closing) throw new TelemetryClientError("cannot send a packet: the client is closed");
      this.#encoded.set(packet);
      const limit = Math.min(MAX_PACKET_BYTES, this.#options.maxBufferedBytes);
      if (this.#encoded.size > limit) {
        throw new RangeError(`cannot send a packet of ${this.#encoded.size} bytes: the limit is ${limit}`);
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
   * Resolves when every packet given to {@linkcode send} so far is settled; waits for Tally as long as it
   * takes. Rejects when the client fails for good or is aborted before.
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
   * {@linkcode flush} does. To wait no longer, call {@linkcode abort}.
   */
  async close(): Promise<Totals> {
    this.#closing = true;
    const totals = await this.flush();
    if (this.#state === "connected") {
      this.#state = "ending";
      this.#watchForStall();
      this.#call!.end();
    } else if (this.#state !== "ending") {
      this.#shutDown();
    }
    await this.#over.promise;
    return totals;
  }

  /**
   * Ends the connection and closes the file at once, whatever is not settled; a file still has it. What
   * waits in `send`, `flush` or `close` rejects with `reason`. Without effect when the client is over.
   */
  async abort(reason: Error = new TelemetryClientError("the client was aborted")): Promise<void> {
    this.#fail(reason);
    await this.#over.promise;
  }

  /** For `await using`: {@linkcode abort}. Call {@linkcode close} before, where packets are to arrive. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.abort();
  }

  // ── Connection ──

  #connect(): void {
    this.#state = "connecting";
    this.#ack = undefined;
    this.#writable = true;
    this.#channel ??= openChannel(this.#options);
    const offset = this.#buffer.start + this.#origin;
    this.#call = new DeviceCall(this.#channel, this.session, offset, {
      opened: (committed) => this.#opened(offset, committed),
      acked: (ack) => this.#acked(ack),
      writable: () => {
        this.#writable = true;
        this.#pump();
      },
      ended: (status, committed) => this.#ended(status, committed),
    });
    this.#watchForStall();
  }

  #opened(offset: number, committed: number): void {
    const moved = !this.#originKnown && committed > this.#sentEnd;
    if (moved) this.#origin = committed - this.#sentEnd;
    this.#originKnown = true;
    const index = committed - this.#origin;
    if (index > this.#sentEnd) return this.#fail(this.#sharedSession());
    this.#unreported += Math.max(0, index - this.#buffer.start);
    this.#settle(index);
    if (moved && this.#journal !== undefined) {
      // What is left has not been sent, and its indexes in the file are wrong.
      this.#unsaved = this.#buffer.cursor();
      this.#rewriteDue = true;
      this.#save();
    }
    if (committed > offset) {
      // This call's first packet would have to be number `offset`: another one begins where it should.
      this.#call!.cancel();
      if (this.#restarts++ === 0) this.#connect();
      else {this.#retry(
          new TelemetryClientError(`the session moved on while ${this.#options.target} answered`),
        );}
      return;
    }
    this.#restarts = 0;
    this.#state = "connected";
    this.#unsent = this.#buffer.cursor();
    if (this.#buffer.packets === 0) this.#attempts = 0;
    this.#pump();
    this.#options.onConnected();
  }

  #acked(ack: Ack): void {
    if (this.#state === "connecting") {
      return this.#fail(
        new TelemetryClientError(
          `${this.#options.target} acknowledges without telemetry-committed: it knows no sessions, or ` +
            `something on the way removes metadata`,
        ),
      );
    }
    const index = ack.committed - this.#origin;
    if (index > this.#sentEnd) return this.#fail(this.#sharedSession());
    const before = this.#ack;
    this.#ack = ack;
    this.#stored += ack.stored - (before?.stored ?? 0);
    this.#rejected += ack.rejected - (before?.rejected ?? 0);
    this.#settle(index);
    for (const { reason, packets } of ack.rejections) {
      const name = RejectReason[reason] ?? `REASON_${reason}`;
      const known = before?.rejections.find((rejection) => rejection.reason === reason)?.packets ?? 0;
      if (packets === known) continue;
      this.#rejections.set(name, (this.#rejections.get(name) ?? 0) + packets - known);
      this.#options.onRejected({ reason: name, packets: packets - known });
    }
  }

  #ended(end: StatusObject, committed: number | undefined): void {
    if (this.#state === "ending") return this.#shutDown();
    if (this.#state === "connecting") this.#unansweredAtMs = performance.now();
    const index = (committed ?? 0) - this.#origin;
    if (this.#originKnown && index > this.#buffer.start && index <= this.#sentEnd) {
      this.#unreported += index - this.#buffer.start;
      this.#settle(index);
    }
    const { code } = end;
    const details = end.details.replace(/\. Resolution note: .*$/, ""); // grpc-js's, mostly empty
    const error = new TelemetryClientError(
      `the stream to ${this.#options.target} ended: ${status[code]}${details && `: ${details}`}`,
      status[code],
    );
    const ownLateClaim = performance.now() - this.#unansweredAtMs < LATE_CLAIM_MS;
    if (FINAL_STATUSES.has(code)) this.#fail(error);
    else if (code === status.ABORTED && !ownLateClaim) this.#fail(this.#sharedSession());
    else this.#retry(error);
  }

  #retry(error: TelemetryClientError): void {
    this.#disconnect();
    this.#state = "paused";
    const { minBackoffMs, maxBackoffMs } = this.#options;
    const delayMs = Math.random() * Math.min(maxBackoffMs, minBackoffMs * 2 ** this.#attempts++);
    this.#retryTimer = setTimeout(() => this.#connect(), delayMs);
    this.#options.onDisconnected(error, delayMs);
  }

  #disconnect(): void {
    clearTimeout(this.#stallTimer);
    clearTimeout(this.#retryTimer);
    this.#call?.cancel();
    this.#call = undefined;
    this.#channel?.close();
    this.#channel = undefined;
  }

  /** Gives the call up if nothing that is waited for happens from now on. */
  #watchForStall(): void {
    const { stallTimeoutMs, target } = this.#options;
    clearTimeout(this.#stallTimer);
    this.#stallTimer = setTimeout(() => {
      if (this.#state === "ending") return this.#shutDown();
      if (this.#state === "connecting") this.#unansweredAtMs = performance.now();
      else if (this.#unsent.index === this.#buffer.start) return;
      this.#retry(new TelemetryClientError(`${target} settled nothing for ${stallTimeoutMs} ms`));
    }, stallTimeoutMs);
  }

  // ── Packets ──

  #hasRoom(bytes: number): boolean {
    const { maxBufferedPackets, maxBufferedBytes } = this.#options;
    return this.#buffer.packets < maxBufferedPackets && this.#buffer.bytes + bytes <= maxBufferedBytes;
  }

  #accepted(): Promise<void> {
    if (this.#journal === undefined) {
      this.#schedulePump();
      return DONE;
    }
    this.#saved ??= Promise.withResolvers();
    const { promise } = this.#saved;
    this.#save();
    return promise;
  }

  /** Not at once: packets sent in one turn of the event loop go in one message. */
  #schedulePump(): void {
    if (this.#pumpScheduled || this.#state !== "connected" || !this.#writable) return;
    this.#pumpScheduled = true;
    setImmediate(() => {
      this.#pumpScheduled = false;
      this.#pump();
    });
  }

  #pump(): void {
    if (this.#state !== "connected") return;
    const nothingSent = this.#unsent.index === this.#buffer.start;
    while (this.#writable) {
      const bytes = this.#unsent.take(this.#unsaved);
      if (bytes === undefined) break;
      this.#writable = this.#call!.write(bytes);
    }
    this.#sentEnd = Math.max(this.#sentEnd, this.#unsent.index);
    if (nothingSent && this.#unsent.index > this.#buffer.start) this.#watchForStall();
  }

  /** The packets before `index` are settled. */
  #settle(index: number): void {
    if (index <= this.#buffer.start) return;
    this.#buffer.forget(index);
    this.#attempts = 0;
    this.#watchForStall();
    while (this.#sends.length > 0 && this.#hasRoom(this.#sends[0]!.bytes.length)) {
      const { bytes, resolve, reject } = this.#sends.shift()!;
      this.#buffer.addBatch(bytes);
      this.#accepted().then(resolve, reject);
    }
    while (this.#flushes.length > 0 && this.#flushes[0]!.index <= index) this.#flushes.shift()!.resolve();
    if (this.#journal !== undefined) {
      this.#settledToSave = true;
      this.#save();
    }
  }

  /** Writes what is due to the file, unless that is under way; what comes meanwhile is written together. */
  #save(): void {
    this.#saving ??= this.#saveAll();
  }

  async #saveAll(): Promise<void> {
    const journal = this.#journal!;
    try {
      while (this.#saved !== undefined || this.#settledToSave || this.#rewriteDue) {
        const saved = this.#saved;
        this.#saved = undefined;
        let unsaved;
        do {
          const settled = this.#buffer.start + this.#origin;
          if (this.#rewriteDue || journal.shouldRewrite(this.#buffer.bytes)) {
            this.#rewriteDue = false;
            await journal.rewrite(settled, this.#batches(this.#buffer.cursor(), this.#unsaved));
          } else if (this.#settledToSave) await journal.appendSettled(settled);
          this.#settledToSave = false;
          unsaved = this.#unsaved!.copy();
          for (const { first, bytes } of this.#batches(unsaved)) await journal.appendPackets(first, bytes);
          await journal.flush();
        } while (this.#rewriteDue);
        this.#unsaved = unsaved;
        saved?.resolve();
        this.#schedulePump();
      }
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#fail(new TelemetryClientError(`could not keep packets in the file: ${reason}; see to its disk`));
    } finally {
      this.#saving = undefined;
    }
  }

  /** The packets from `cursor` on, up to `limit`, under their indexes in the session. */
  #batches(cursor: Cursor, limit?: Cursor): { first: number; bytes: Uint8Array }[] {
    const batches = [];
    for (;;) {
      const first = cursor.index + this.#origin;
      const bytes = cursor.take(limit);
      if (bytes === undefined) return batches;
      batches.push({ first, bytes });
    }
  }

  // ── End ──

  #sharedSession(): TelemetryClientError {
    return new TelemetryClientError(
      `another client uses session ${this.session}: stop one of them, or give each a session of its own`,
      status[status.ABORTED],
    );
  }

  #fail(error: Error): void {
    if (this.#state === "over") return;
    this.#failure = error;
    this.#shutDown();
    for (const { reject } of [...this.#sends.splice(0), ...this.#flushes.splice(0)]) reject(error);
    this.#saved?.reject(error);
  }

  #shutDown(): void {
    if (this.#state === "over") return;
    this.#state = "over";
    this.#disconnect();
    Promise.resolve(this.#saving).then(() => {
      this.#journal?.close();
      this.#over.resolve();
    });
  }
}

const DONE = Promise.resolve();
