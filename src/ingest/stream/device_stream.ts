/**
 * What one device stream means, whichever path its bytes come by: packets are checked and put into the
 * queue, and the device is told what became of them once the store has them.
 *
 * @module
 */
import { RequestError } from "../../protocol/request_error.ts";
import { DEVICE_CLOCK_AHEAD_MS, type FencedSession, type Store } from "../../store/store.ts";
import type { Ack } from "../../protocol/messages.ts";
import { OFFSET_KEY, SESSION_KEY } from "../../protocol/metadata_keys.ts";
import type { IngestCounters } from "../counters.ts";
import type { DeviceTable } from "../batch/device_table.ts";
import { MalformedMessage, PacketView, readBatch, readPacket, unixMilliseconds } from "./packet.ts";
import type { PacketQueue, Section, SectionOwner } from "../batch/queue.ts";
import { RejectReason } from "../../protocol/reject_reason.ts";
import type { Reverts } from "./reverts.ts";

/** The way back to the device; one implementation per path. Calls after the end are ignored. */
export interface StreamCall {
  /** Initial metadata, with `telemetry-committed` when the stream has a session. */
  sendHeaders(committed: number | undefined): void;
  /** Sends an Ack. False: the device does not read; `whenWritable` is called when it does. */
  sendAck(ack: Ack, whenWritable: () => void): boolean;
  /** Ends the call: OK, or the error; `committed` goes into the trailers of an error. */
  end(error: unknown, committed: number): void;
  /** The peer cancelled the call, or is gone: no response is sent. */
  cancelled?(): void;
}

/** What a device sends in the metadata. */
export interface StreamHead {
  /** The `telemetry-session`, if there is one. */
  readonly session: string | undefined;
  /** Index in the session of the stream's first packet; 0 without a session. */
  readonly offset: number;
}

/** Reads the metadata; throws INVALID_ARGUMENT. */
export function parseStreamHead(session: string | undefined, offset: string | undefined): StreamHead {
  if (session === undefined) {
    if (offset === undefined) return { session, offset: 0 };
    throw new RequestError("INVALID_ARGUMENT", `${OFFSET_KEY} without ${SESSION_KEY}: send both or neither`);
  }
  if (!/^[\x21-\x7e]{1,128}$/.test(session)) {
    throw new RequestError(
      "INVALID_ARGUMENT",
      `${SESSION_KEY} has ${session.length} characters or others than printable ASCII: use 1 to 128 without spaces`,
    );
  }
  if (offset !== undefined && (!/^[0-9]{1,16}$/.test(offset) || !Number.isSafeInteger(Number(offset)))) {
    throw new RequestError("INVALID_ARGUMENT", `${OFFSET_KEY} is not a whole number from 0 to 2^53 - 1`);
  }
  return { session, offset: Number(offset ?? 0) };
}

/** What all streams of a process share. */
export interface Ingest {
  /** Where packets go. */
  readonly queue: PacketQueue;
  /** Where sessions are claimed; packets reach it through the queue. */
  readonly store: Store;
  /** The devices whose packets are on their way. */
  readonly devices: DeviceTable;
  /** What was done so far. */
  readonly counters: IngestCounters;
  /** Counts and logs sessions of which the store holds less than before. */
  readonly reverts: Reverts;
  /** Every open stream. */
  readonly streams: Set<DeviceStream>;
  /** The stream that owns each session, as far as this process knows. */
  readonly sessions: Map<string, DeviceStream>;
  /** What a packet, and how many streams, may be. */
  readonly limits: {
    readonly maxPayloadBytes: number;
    readonly maxClockAheadMs: number;
    readonly maxStreams: number;
  };
  /** Server time, Unix milliseconds. */
  readonly now: () => number;
  /** The process is shutting down: no new streams. */
  draining: boolean;
}

/** Which of the two calls of the service a stream is. */
export type StreamKind = "packets" | "batches";

type State =
  /** Reading. */
  | "open"
  /** The device, or an error, ended the reading; what was read is being stored. */
  | "ending"
  /** The call is over. */
  | "closed";

/** One call of a device. Give it messages while {@linkcode reading}, as long as the queue has room. */
export class DeviceStream implements SectionOwner {
  claim: { readonly session: string; readonly epoch: number } | undefined;

  #state: State = "open";
  /** Why the call will end, when it does not end well. */
  #error: unknown;
  /** Index of the next packet to come, and of the first that is not a duplicate. */
  #position: number;
  #fresh = 0;
  /** Where packets go in the queue's tail, and how many sections are not settled yet. */
  #section: Section | undefined;
  #sectionTail: unknown;
  #unsettled = 0;
  /** Settled so far: what an Ack says. */
  #committed: number;
  #stored = 0;
  #duplicates = 0;
  #rejected = 0;
  readonly #rejections = new Map<RejectReason, number>();
  /** For running Acks: there is something new to say, and the device has room for it. */
  #news = false;
  #writable = true;

  /** Opens the stream; if the process takes no more streams, it ends at once. */
  constructor(
    readonly ingest: Ingest,
    readonly kind: StreamKind,
    readonly head: StreamHead,
    readonly call: StreamCall,
  ) {
    this.#position = this.#committed = head.offset;
    ingest.counters.streams++;
    ingest.counters.openStreams++;
    ingest.streams.add(this);
    if (ingest.draining) this.fail(new RequestError("UNAVAILABLE", "shutting down: connect again"));
    else if (ingest.streams.size > ingest.limits.maxStreams) {
      this.fail(
        new RequestError(
          "RESOURCE_EXHAUSTED",
          `the limit of ${ingest.limits.maxStreams} open streams is reached: try again later`,
        ),
      );
    }
  }

  /** Whether messages are still wanted. When not, they are to be read and forgotten. */
  get reading(): boolean {
    return this.#state === "open";
  }

  /** Claims the session; read nothing before it is done. Never rejects. */
  async claimSession(session: string): Promise<void> {
    // A call that is refused must not take the session from the stream that has it.
    if (!this.reading) return;
    const { store, sessions, now } = this.ingest;
    try {
      const claim = await store.claimSession(session, this.head.offset, now());
      const { epoch, committed, lost } = claim;
      if (lost > 0) this.ingest.reverts.found(session, committed, committed - lost, lost);
      if (this.#state === "closed") return;
      const other = sessions.get(session);
      // Only if the store's clock went back together with its data, or the answers came in another order.
      if (other?.claim !== undefined && other.claim.epoch > epoch) {
        throw new RequestError("UNAVAILABLE", "a stream of this session has a later claim: connect again");
      }
      this.claim = { session, epoch };
      this.#fresh = this.#committed = committed;
      sessions.set(session, this);
      other?.fence();
      this.call.sendHeaders(committed);
    } catch (error) {
      this.fail(error);
    }
  }

  /** Takes one message, `bytes[start, end)`; they must not change afterwards. Only while {@linkcode reading}. */
  message(bytes: Uint8Array, start: number, end: number): void {
    const before = this.#position;
    try {
      if (this.kind === "packets") {
        readPacket(bytes, start, end, packet);
        this.#packet(bytes);
      } else {
        readBatch(bytes, start, end, (packetStart, packetEnd) => {
          readPacket(bytes, packetStart, packetEnd, packet);
          this.#packet(bytes);
        });
      }
    } catch (error) {
      if (!(error instanceof MalformedMessage)) throw error;
      const where = `packet ${this.#position} of the stream: ${error.message}`;
      this.fail(
        new RequestError(
          "INVALID_ARGUMENT",
          `not a protobuf ${this.kind === "packets" ? "Packet" : "PacketBatch"}: ${where}`,
        ),
      );
    }
    const packets = this.#position - before;
    this.ingest.counters.received += packets;
    this.ingest.queue.added(packets, end - start);
  }

  /** The device has sent all it wants to send. */
  end(): void {
    if (this.#state === "open") this.#finish();
  }

  /** Ends the reading for `error`; what was read is stored first, then the device is told. */
  fail(error: unknown): void {
    if (this.#state !== "open") return;
    this.#error = error;
    this.#finish();
  }

  /** The device is gone: what was read is stored, nobody is told. */
  cancelled(): void {
    this.call.cancelled?.();
    this.#close();
  }

  /** See {@linkcode SectionOwner}. */
  fence(found?: FencedSession): void {
    if (this.#section !== undefined && this.#sectionTail === this.ingest.queue.tail) {
      this.#section.fenced = true;
    }
    if (found?.kind === "reverted") this.#goBack(found);
    else {
      this.#error = new RequestError(
        "ABORTED",
        "a newer stream of this session took over: stop this one, or use a session of its own",
      );
    }
    this.#endCall();
  }

  /** Ends the call with `error` now, whatever is not settled: the device has to send it again. */
  abandon(error: RequestError): void {
    this.#error ??= error;
    this.#endCall();
  }

  /** See {@linkcode SectionOwner}. */
  settle(section: Section): void {
    const { counters } = this.ingest;
    this.#committed = Math.max(this.#committed, section.to);
    this.#stored += section.stored;
    this.#duplicates += section.duplicates;
    counters.stored += section.stored;
    counters.duplicates += section.duplicates;
    for (const [reason, packets] of section.rejections ?? []) {
      this.#rejected += packets;
      this.#rejections.set(reason, (this.#rejections.get(reason) ?? 0) + packets);
      counters.rejected.set(reason, counters.rejected.get(reason)! + packets);
    }
    this.#unsettled--;
    this.#news = true;
    if (this.#state === "ending" && this.#unsettled === 0) this.#endCall();
    else if (this.kind === "batches") this.#sendRunningAck();
    this.#forgetSession();
  }

  /** See {@linkcode SectionOwner}. */
  leaveOut(section: Section): void {
    this.#unsettled--;
    this.ingest.counters.fenced += section.stored + section.duplicates;
    for (const packets of section.rejections?.values() ?? []) this.ingest.counters.fenced += packets;
    this.#forgetSession();
  }

  #packet(bytes: Uint8Array): void {
    const { ingest } = this;
    const index = this.#position++;
    const section = this.#openSection(index);
    if (index < this.#fresh) {
      section.duplicates++;
      return;
    }
    section.to = index + 1;
    const payloadBytes = packet.payloadEnd - packet.payloadStart;
    if (payloadBytes > ingest.limits.maxPayloadBytes) return section.reject(RejectReason.PAYLOAD_TOO_LARGE);
    const now = ingest.now();
    let timestampMs = now;
    if (packet.timestamp !== 0) {
      if (packet.timestamp < 0) return section.reject(RejectReason.TIMESTAMP_NEGATIVE);
      timestampMs = unixMilliseconds(packet.timestamp);
      if (timestampMs > now + ingest.limits.maxClockAheadMs) {
        return section.reject(RejectReason.TIMESTAMP_IN_FUTURE);
      }
    }
    const device = ingest.devices.intern(bytes, packet.deviceIdStart, packet.deviceIdEnd);
    if (typeof device === "number") return section.reject(device);
    section.stored++;
    const { payloadStart, payloadEnd } = packet;
    const latestMs = now + DEVICE_CLOCK_AHEAD_MS;
    section.group.delta(device).add(timestampMs, bytes, payloadStart, payloadEnd, latestMs);
  }

  #openSection(index: number): Section {
    const { tail } = this.ingest.queue;
    if (this.#sectionTail !== tail || this.#section === undefined) {
      this.#section = tail.section(this, Math.max(index, this.#fresh));
      this.#sectionTail = tail;
      this.#unsettled++;
    }
    return this.#section;
  }

  #sendRunningAck(): void {
    if (!this.#news || !this.#writable || this.#state === "closed") return;
    this.#news = false;
    this.#writable = this.call.sendAck(this.#ack(), () => {
      this.#writable = true;
      this.#sendRunningAck();
    });
  }

  #ack(): Ack {
    return {
      ok: true,
      stored: this.#stored,
      duplicates: this.#duplicates,
      rejected: this.#rejected,
      committed: this.#committed,
      rejections: Array.from(this.#rejections, ([reason, packets]) => ({ reason, packets })),
    };
  }

  /** The device goes on from what the store holds, in another call: packets from there on are not counted. */
  #goBack({ session, committed }: FencedSession): void {
    const before = this.#committed;
    if (committed < before) this.ingest.reverts.found(session, before, committed, 0);
    this.#error = new RequestError(
      "UNAVAILABLE",
      `the store went back: it holds ${committed} packets of this session and held ${before}: connect again`,
    );
    this.#committed = committed;
    this.#news = false; // What it would acknowledge may be gone.
  }

  #finish(): void {
    this.#state = "ending";
    if (this.#unsettled === 0) this.#endCall();
  }

  #endCall(): void {
    if (this.#state === "closed") return;
    this.#close();
    // StreamPackets is answered once and only when all went well; StreamBatches says what it has not said.
    const lastWord = this.kind === "batches"
      ? this.#news || (this.#error === undefined && this.#position === this.head.offset)
      : this.#error === undefined;
    if (lastWord) this.call.sendAck(this.#ack(), () => {});
    this.call.end(this.#error, this.#committed);
  }

  #close(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    const { ingest } = this;
    ingest.counters.openStreams--;
    ingest.streams.delete(this);
    this.#forgetSession();
  }

  /** Not before all is settled: a newer stream of the session must find what to leave out. */
  #forgetSession(): void {
    if (this.#state !== "closed" || this.#unsettled > 0 || this.claim === undefined) return;
    const { sessions } = this.ingest;
    if (sessions.get(this.claim.session) === this) sessions.delete(this.claim.session);
  }
}

/** Streams take their messages one at a time, to the end, so one view serves them all. */
const packet = new PacketView();
