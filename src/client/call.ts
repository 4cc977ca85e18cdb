/**
 * The device side of one call of `StreamBatches`.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import { Client, type ClientDuplexStream, Metadata, setLogger, type StatusObject } from "@grpc/grpc-js";

import type { Ack } from "../protocol/messages.ts";
import {
  CLAIM_KEY,
  COMMITTED_KEY,
  LOST_KEY,
  MAX_MESSAGE_KEY,
  OFFSET_KEY,
  OLDEST_KEY,
  SESSION_KEY,
} from "../protocol/metadata_keys.ts";
import { streamBatches } from "../protocol/telemetry_proto.ts";
import { grpcJsLogger } from "../runtime/grpc_js_log.ts";
import { guardHttp2 } from "../runtime/node_http2_guard.ts";
import { channelSecurity } from "./channel_credentials.ts";
import type { ClientTls } from "./client_options.ts";

// A call reports its errors by its status; an ingest in the same process sets its own log afterwards.
setLogger(grpcJsLogger());

/** Where to connect, and when a connection counts as dead. */
export interface ChannelSettings {
  /** Host and port. */
  readonly target: string;
  /** TLS; undefined: plain text. */
  readonly tls?: ClientTls;
  /** Idle time after which a keepalive PING is sent: GRPC_ARG_KEEPALIVE_TIME_MS of gRPC. */
  readonly keepaliveTimeMs: number;
  /** Time for the reply to it: GRPC_ARG_KEEPALIVE_TIMEOUT_MS of gRPC. */
  readonly keepaliveTimeoutMs: number;
}

/** Where a call begins in its session. */
export interface CallStart {
  /** Index of its first packet. */
  readonly offset: number;
  /** Index of the oldest packet that can be sent again; undefined: acknowledged packets are not kept. */
  readonly oldest: number | undefined;
  /** The {@linkcode ClaimedSession.claim} of the last call with an Ack. */
  readonly claim: string | undefined;
}

/** The session, as the server's initial metadata states it. */
export interface ClaimedSession {
  /** Packets of it that are settled. Below the call's offset, the store went back, and the call begins here. */
  readonly committed: number;
  /** Largest message that the server accepts, if it sends a limit. */
  readonly maxMessageBytes: number | undefined;
  /** For {@linkcode CallStart.claim} of later calls. */
  readonly claim: string | undefined;
  /** Acknowledged packets that the store no longer holds and that are not sent again. */
  readonly lost: number;
}

/** The events of a call, in this order: `opened`, then `acked` and `writable` in any order, then `ended`. */
export interface CallEvents {
  /** The call owns the session. */
  opened(session: ClaimedSession): void;
  /** An Ack: the results of all packets of the call so far. */
  acked(ack: Ack): void;
  /** There is room again after a {@linkcode DeviceCall.write} that returned false. */
  writable(): void;
  /** The call has ended; `committed` if the status came with it. */
  ended(status: StatusObject, committed: number | undefined): void;
}

/**
 * A channel with a connection of its own: after a failure it is discarded, so that neither a half-open socket
 * nor gRPC's own back-off affects the next attempt.
 */
export function openChannel(settings: ChannelSettings): Client {
  guardHttp2();
  const [credentials, options] = channelSecurity(settings.target, settings.tls);
  return new Client(settings.target, credentials, {
    ...options,
    "grpc.keepalive_time_ms": settings.keepaliveTimeMs,
    "grpc.keepalive_timeout_ms": settings.keepaliveTimeoutMs,
    // A call is always open. Servers may treat PINGs without a call as abuse.
    "grpc.keepalive_permit_without_calls": 0,
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_retries": 0,
    "grpc.enable_channelz": 0,
  });
}

/** An open call. After {@linkcode DeviceCall.cancel} there are no events. */
export class DeviceCall {
  readonly #stream: ClientDuplexStream<Uint8Array, Ack>;
  #ended = false;

  /** Starts the call, with the token if there is one. */
  constructor(
    channel: Client,
    session: string,
    start: CallStart,
    token: string | undefined,
    events: CallEvents,
  ) {
    const metadata = new Metadata();
    if (token !== undefined) metadata.set("authorization", `Bearer ${token}`);
    metadata.set(SESSION_KEY, session);
    metadata.set(OFFSET_KEY, String(start.offset));
    if (start.oldest !== undefined) metadata.set(OLDEST_KEY, String(start.oldest));
    if (start.oldest !== undefined && start.claim !== undefined) metadata.set(CLAIM_KEY, start.claim);
    // No deadline: the call lives as long as the device has packets to send.
    const stream = this.#stream = channel.makeBidiStreamRequest<Uint8Array, Ack>(
      streamBatches.path,
      (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length),
      streamBatches.responseDeserialize,
      metadata,
    );
    const unlessEnded = <Arguments extends unknown[]>(handler: (...values: Arguments) => void) =>
    (
      ...values: Arguments
    ) => {
      if (!this.#ended) handler(...values);
    };
    stream.on(
      "metadata",
      unlessEnded((metadata: Metadata) => {
        const committed = numberIn(metadata, COMMITTED_KEY);
        // Otherwise the call is about to fail.
        if (committed === undefined) return;
        const claim = metadata.get(CLAIM_KEY)[0]?.toString(), lost = numberIn(metadata, LOST_KEY) ?? 0;
        events.opened({ committed, maxMessageBytes: numberIn(metadata, MAX_MESSAGE_KEY), claim, lost });
      }),
    );
    stream.on("data", unlessEnded((ack: Ack) => events.acked(ack)));
    stream.on("drain", unlessEnded(() => events.writable()));
    stream.on("error", () => {}); // reported by "status"
    stream.on(
      "status",
      unlessEnded((status: StatusObject) => {
        this.#ended = true;
        events.ended(status, numberIn(status.metadata, COMMITTED_KEY));
      }),
    );
  }

  /** Sends a `PacketBatch`; `bytes` must not change. False: wait for {@linkcode CallEvents.writable}. */
  write(bytes: Uint8Array): boolean {
    return this.#stream.write(bytes);
  }

  /** Half-closes the call: the server ends it when all packets are settled. */
  end(): void {
    this.#stream.end();
  }

  /** Cancels the call. */
  cancel(): void {
    this.#ended = true;
    this.#stream.cancel();
  }
}

function numberIn(metadata: Metadata, key: string): number | undefined {
  const [value] = metadata.get(key);
  const number = value === undefined ? NaN : Number(value);
  return Number.isSafeInteger(number) && number >= 0 ? number : undefined;
}
