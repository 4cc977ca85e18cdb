/**
 * One telemetry call, whichever path serves it: packets are checked and added to the queue, and acknowledged
 * once the store has them.
 *
 * @module
 */
import { type CoveredDevices, coveredDevices } from "../../identity/device_pattern.ts";
import { ownedSession } from "../../identity/session_owner.ts";
import { RejectReason } from "../../protocol/reject_reason.ts";
import { RequestError } from "../../protocol/request_error.ts";
import { DEVICE_CLOCK_AHEAD_MS, type FencedSession } from "../../store/packets.ts";
import type { StreamAccounts } from "../../limits/accounts.ts";
import { StreamPacer } from "../../limits/stream_pacer.ts";
import type { ShareOwner, StreamShare } from "../batch/batch.ts";
import type { CallContext } from "./call_context.ts";
import type { CallResponse } from "./call_response.ts";
import { claimedEpoch, claimText } from "./claim_text.ts";
import { type IngestState, type OpenStream, streamRefusal } from "./ingest_state.ts";
import {
  MalformedMessage,
  PacketView,
  readBatch,
  readPacket,
  unixMilliseconds,
} from "../../protocol/packet.ts";
import { claimWithinLimits } from "./session_claim.ts";
import type { SessionStart } from "./session_start.ts";
import { StreamProgress } from "./stream_progress.ts";

/** Which of the two calls of the service a stream is. */
export type StreamKind = "packets" | "batches";

type State =
  /** Reading. */
  | "open"
  /** The device half-closed, or an error ended the reading; what was read is being stored. */
  | "ending"
  /** The call is over. */
  | "closed";

/** One call of a device. Pass it messages while {@linkcode reading}, as long as the queue has room. */
export class DeviceStream implements ShareOwner, OpenStream {
  /** See {@linkcode ShareOwner}. */
  claim: ShareOwner["claim"];
  /** See {@linkcode OpenStream}. */
  readonly openedAtMs: number = performance.now();

  #state: State = "open";
  /** Why the call will end, unless it ends with OK. */
  #error: unknown;
  /**
   * Index of the stream's first packet, of the next one, of the first not settled before, and of the first that no shard
   * has: see SessionShards.
   */
  #first: number;
  #position: number;
  #settled = 0;
  #fresh = 0;
  /** The share of the queue's tail, and how many shares are not settled yet. */
  #share: StreamShare | undefined;
  #shareTail: unknown;
  #unsettled = 0;
  readonly #progress: StreamProgress;
  /** The devices it may send packets of, undefined: all; and the last of them that it did send a packet of: its number. */
  readonly #covered: CoveredDevices | undefined;
  #coveredDevice = -1;
  readonly #accounts: StreamAccounts;
  readonly #pacer: StreamPacer | undefined;
  /** It has not received a message yet. */
  #silent = true;
  /** For running Acks: something was settled since the last one, and the device has room for it. */
  #ackDue = false;
  #writable = true;

  /** Opens the stream; if the process accepts no more streams, it ends at once. */
  constructor(
    readonly ingest: IngestState,
    readonly kind: StreamKind,
    readonly start: SessionStart,
    readonly context: CallContext,
    readonly response: CallResponse,
  ) {
    this.#first = this.#position = start.offset;
    this.#progress = new StreamProgress(start.offset);
    this.#covered = coveredDevices(context.identity);
    ingest.counters.streams++;
    ingest.counters.openStreams++;
    this.#accounts = ingest.accounts.of(context.peer, context.identity.subject);
    this.#pacer = StreamPacer.of(ingest.limits, this.#accounts.identity.meter, monotonicMs);
    // Once more: for the identity, and as grpc-js opens it in a later turn than the one in which the call was routed.
    const refusal = streamRefusal(ingest, this.#accounts);
    ingest.streams.add(this);
    ingest.silentStreams.add(this);
    ingest.accounts.opened(this.#accounts);
    if (refusal !== undefined) this.fail(refusal);
  }

  /** Whether messages are still to be passed to it. If not, they are to be discarded. */
  get reading(): boolean {
    return this.#state === "open";
  }

  /** Time to wait before the next message is passed to it, ms, to keep to its rates; 0: none. */
  get paceMs(): number {
    return this.#pacer === undefined ? 0 : this.#pacer.waitMs;
  }

  /** Claims the session, if there is one; read nothing before it is done. Never rejects. */
  async claimSession(): Promise<void> {
    const { session, offset, kept } = this.start;
    // A call that is refused must not take the session from the stream that has it.
    if (session === undefined || !this.reading) return;
    const { sessions, reverts } = this.ingest;
    const owned = ownedSession(this.context.identity, session);
    // What an anonymous device began continues when credentials are required of it: nothing counts twice.
    const continues = owned === session ? undefined : session;
    const lastEpoch = claimedEpoch(kept?.claim, session, owned);
    const resendable = kept && lastEpoch && { oldest: kept.oldest, epoch: lastEpoch } || undefined;
    try {
      const stated = { session: owned, offset, continues, resendable }, { identity } = this.#accounts;
      const { epoch, committed, lost, shards } = await claimWithinLimits(this.ingest, identity, stated);
      const resent = Math.max(0, offset - committed);
      if (lost + resent > 0) {
        reverts.found(owned, { before: offset, committed: committed - lost, lost, resent });
      }
      if (this.#state === "closed") return;
      const other = sessions.get(owned);
      // Only if the store's clock went back together with its data, or the replies arrived in another order.
      if (other?.claim !== undefined && other.claim.epoch > epoch) {
        throw new RequestError("UNAVAILABLE", "a stream of this session has a later claim: connect again");
      }
      this.claim = { session: owned, epoch, shards };
      this.#settled = this.#progress.committed = committed;
      this.#fresh = Math.max(committed, shards?.end ?? 0);
      // A device that keeps acknowledged packets goes back with the store.
      this.#first = this.#position = Math.min(offset, committed);
      sessions.set(owned, this);
      other?.fence();
      const text = kept && claimText(epoch, session, owned);
      this.response.sendHeaders({ committed, lost, claim: text });
    } catch (error) {
      this.fail(error);
    }
  }

  /** Reads one message, `bytes[start, end)`; they must not change afterwards. Only while {@linkcode reading}. */
  message(bytes: Uint8Array, start: number, end: number): void {
    const before = this.#position;
    if (this.#silent) this.#firstMessage();
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
      const message = this.kind === "packets" ? "Packet" : "PacketBatch";
      const where = `packet ${this.#position} of the stream: ${error.message}`;
      this.fail(new RequestError("INVALID_ARGUMENT", `not a protobuf ${message}: ${where}`));
    }
    const packets = this.#position - before;
    this.ingest.counters.received += packets;
    this.ingest.queue.commit(packets, end - start);
  }

  #firstMessage(): void {
    this.#silent = false;
    this.ingest.silentStreams.delete(this);
  }

  /** The device half-closed: it sends no more messages. */
  end(): void {
    if (this.#state === "open") this.#finish();
  }

  /** See {@linkcode OpenStream}. */
  fail(error: unknown): void {
    if (this.#state !== "open") return;
    this.#error = error;
    this.#finish();
  }

  /** The call was cancelled, or the device is gone: what was read is stored, no response is sent. */
  cancelled(): void {
    if (this.#state === "closed") return;
    this.#close();
    this.context.cancel();
  }

  /** See {@linkcode ShareOwner}. */
  fence(found?: FencedSession): void {
    if (this.#share !== undefined && this.#shareTail === this.ingest.queue.tail) {
      this.#share.fenced = true;
    }
    if (found?.kind === "reverted") this.#revert(found);
    else {
      this.#error = new RequestError(
        "ABORTED",
        "a newer stream of this session took over: stop this one, or use a session of its own",
      );
    }
    this.#endCall();
  }

  /** See {@linkcode OpenStream}. */
  abort(error: RequestError): void {
    this.#error ??= error;
    this.#endCall();
  }

  /** See {@linkcode ShareOwner}. */
  settle(share: StreamShare): void {
    this.#progress.add(share, this.ingest.counters);
    this.#unsettled--;
    this.#ackDue = true;
    if (this.#state === "ending" && this.#unsettled === 0) this.#endCall();
    else if (this.kind === "batches") this.#sendRunningAck();
    this.#releaseSession();
  }

  /** See {@linkcode ShareOwner}. */
  discard(share: StreamShare): void {
    this.#unsettled--;
    this.ingest.counters.fenced += share.packets;
    this.#releaseSession();
  }

  #packet(bytes: Uint8Array): void {
    const { ingest } = this;
    const index = this.#position++;
    const share = this.#openShare(index);
    if (index < this.#fresh && this.#isDuplicate(index, bytes, share)) return;
    share.to = index + 1;
    const { maxPayloadBytes, maxClockAheadMs } = ingest.limits;
    const payloadBytes = packet.payloadEnd - packet.payloadStart;
    if (payloadBytes > maxPayloadBytes) return share.reject(RejectReason.PAYLOAD_TOO_LARGE);
    const now = ingest.now();
    const timestampMs = packet.timestamp === 0 ? now : unixMilliseconds(packet.timestamp);
    if (packet.timestamp < 0) return share.reject(RejectReason.TIMESTAMP_NEGATIVE);
    if (timestampMs > now + maxClockAheadMs) return share.reject(RejectReason.TIMESTAMP_IN_FUTURE);
    const { devices } = ingest;
    const device = devices.intern(bytes, packet.deviceIdStart, packet.deviceIdEnd);
    if (device < 0) return share.reject(-device);
    if (this.#covered !== undefined && device !== this.#coveredDevice) {
      if (!this.#covered.has(devices.device(device).id)) return share.reject(RejectReason.DEVICE_NOT_ALLOWED);
      this.#coveredDevice = device;
    }
    const isInRate = this.#pacer?.take(devices.device(device), payloadBytes);
    if (isInRate === false) return share.reject(RejectReason.RATE_LIMITED);
    share.stored++;
    const { payloadStart, payloadEnd } = packet, latestMs = now + DEVICE_CLOCK_AHEAD_MS;
    const delta = share.group.delta(device), { chains } = share.group.batch;
    delta.add(share, timestampMs, bytes, payloadStart, payloadEnd, latestMs);
    if (chains !== undefined) delta.keep(chains, timestampMs, bytes, payloadStart, payloadEnd);
  }

  /** Counts the packet, which is before {@linkcode DeviceStream.#fresh}, if it is a duplicate. */
  #isDuplicate(index: number, bytes: Uint8Array, share: StreamShare): boolean {
    if (index >= this.#settled) {
      share.to = index + 1;
      const { devices } = this.ingest;
      const device = devices.intern(bytes, packet.deviceIdStart, packet.deviceIdEnd);
      if (device < 0 || index >= this.claim!.shards!.offsetOf(devices.device(device).id)) return false;
    }
    share.duplicates++;
    return true;
  }

  #openShare(index: number): StreamShare {
    const { tail } = this.ingest.queue;
    if (this.#shareTail !== tail || this.#share === undefined) {
      this.#share = tail.share(this, Math.max(index, this.#settled));
      this.#shareTail = tail;
      this.#unsettled++;
    }
    return this.#share;
  }

  #sendRunningAck(): void {
    if (!this.#ackDue || !this.#writable || this.#state === "closed") return;
    this.#ackDue = false;
    this.#writable = this.response.sendAck(this.#progress.ack(), () => {
      this.#writable = true;
      this.#sendRunningAck();
    });
  }

  /** The device resumes in another call from what the store holds: packets from there on are not counted. */
  #revert({ session, committed }: FencedSession): void {
    const before = this.#progress.committed;
    if (committed < before) this.ingest.reverts.found(session, { before, committed, lost: 0, resent: 0 });
    const found = committed === before
      ? "the session has expired, as it was unused for long"
      : `the store went back: it holds ${committed} packets of this session and held ${before}`;
    this.#error = new RequestError("UNAVAILABLE", `${found}: connect again`);
    this.#progress.committed = committed;
    this.#ackDue = false; // What it would acknowledge may be gone.
  }

  #finish(): void {
    this.#state = "ending";
    if (this.#unsettled === 0) this.#endCall();
    else this.ingest.queue.flush();
  }

  #endCall(): void {
    if (this.#state === "closed") return;
    this.#close();
    // StreamPackets has one Ack, and only with OK; StreamBatches a final one for what no Ack covers yet.
    const finalAck = this.kind === "batches"
      ? this.#ackDue || (this.#error === undefined && this.#position === this.#first)
      : this.#error === undefined;
    if (finalAck) this.response.sendAck(this.#progress.ack(), () => {});
    this.response.end(this.#error, this.#progress.committed);
  }

  #close(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.context.end();
    this.ingest.counters.openStreams--;
    this.ingest.streams.delete(this);
    this.ingest.silentStreams.delete(this);
    this.ingest.accounts.closed(this.#accounts);
    this.#releaseSession();
  }

  /** Not before all is settled: a newer stream of the session must find what to fence. */
  #releaseSession(): void {
    if (this.#state !== "closed" || this.#unsettled > 0 || this.claim === undefined) return;
    const { sessions } = this.ingest;
    if (sessions.get(this.claim.session) === this) sessions.delete(this.claim.session);
  }
}

const monotonicMs = () => performance.now();

/** Streams read their messages one at a time, to the end, so one view serves them all. */
const packet = new PacketView();
