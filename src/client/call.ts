/**
 * One call of `StreamBatches`, seen from the device.
 *
 * @module
 */
import { Client, type ClientDuplexStream, credentials, Metadata, type StatusObject } from "@grpc/grpc-js";

import { redirectGrpcJsLog } from "../runtime/grpc_js_log.ts";
import { guardHttp2 } from "../runtime/node_http2_guard.ts";
import type { Ack } from "../protocol/messages.ts";
import { COMMITTED_KEY, MAX_MESSAGE_KEY, OFFSET_KEY, SESSION_KEY } from "../protocol/metadata_keys.ts";
import { streamBatches } from "../protocol/telemetry_proto.ts";

// What went wrong with a call comes with its status; an ingest in the same process sets its log afterwards.
redirectGrpcJsLog();

/** Where to connect and how to notice that nobody is there any more. */
export interface ChannelSettings {
  /** Host and port. */
  readonly target: string;
  /** A connection on which nothing arrives for this long is asked for a sign of life. */
  readonly keepaliveTimeMs: number;
  /** How long the sign of life may take. */
  readonly keepaliveTimeoutMs: number;
}

/** What happens to a call, in this order: `opened`, then `acked` and `writable` in turns, then `ended`. */
export interface CallEvents {
  /**
   * The server has given the session to this call; `committed` packets of it are settled. It accepts messages
   * up to `maxMessageBytes`, if it states that.
   */
  opened(committed: number, maxMessageBytes: number | undefined): void;
  /** What has become of the call's packets so far. */
  acked(ack: Ack): void;
  /** There is room again after a {@linkcode DeviceCall.write} that returned false. */
  writable(): void;
  /** The call is over; `committed` if the server said it with the status. */
  ended(status: StatusObject, committed: number | undefined): void;
}

/**
 * A channel with a connection of its own: one that failed is thrown away, so that nothing of it, neither a
 * half-dead socket nor a back-off of gRPC's own, meets the next attempt.
 */
export function openChannel(settings: ChannelSettings): Client {
  guardHttp2();
  return new Client(settings.target, credentials.createInsecure(), {
    "grpc.keepalive_time_ms": settings.keepaliveTimeMs,
    "grpc.keepalive_timeout_ms": settings.keepaliveTimeoutMs,
    // Pings while a call is open, and one always is, are enough; servers may take others for abuse.
    "grpc.keepalive_permit_without_calls": 0,
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_retries": 0,
    "grpc.enable_channelz": 0,
  });
}

/** A call under way. After {@linkcode DeviceCall.cancel} there are no events. */
export class DeviceCall {
  readonly #stream: ClientDuplexStream<Uint8Array, Ack>;
  #over = false;

  /** Starts the call; the first packet written will be number `offset` of the session. */
  constructor(channel: Client, session: string, offset: number, events: CallEvents) {
    const metadata = new Metadata();
    metadata.set(SESSION_KEY, session);
    metadata.set(OFFSET_KEY, String(offset));
    // No deadline: the call lives as long as the device has packets to send.
    const stream = this.#stream = channel.makeBidiStreamRequest<Uint8Array, Ack>(
      streamBatches.path,
      (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length),
      streamBatches.responseDeserialize,
      metadata,
    );
    const unlessOver = <Arguments extends unknown[]>(handler: (...values: Arguments) => void) =>
    (
      ...values: Arguments
    ) => {
      if (!this.#over) handler(...values);
    };
    stream.on(
      "metadata",
      unlessOver((metadata: Metadata) => {
        const committed = numberIn(metadata, COMMITTED_KEY);
        // If not, the call is about to fail.
        if (committed !== undefined) events.opened(committed, numberIn(metadata, MAX_MESSAGE_KEY));
      }),
    );
    stream.on("data", unlessOver((ack: Ack) => events.acked(ack)));
    stream.on("drain", unlessOver(() => events.writable()));
    stream.on("error", () => {}); // "status" says the same
    stream.on(
      "status",
      unlessOver((status: StatusObject) => {
        this.#over = true;
        events.ended(status, numberIn(status.metadata, COMMITTED_KEY));
      }),
    );
  }

  /** Sends a `PacketBatch`; `bytes` must not change. False: wait for {@linkcode CallEvents.writable}. */
  write(bytes: Uint8Array): boolean {
    return this.#stream.write(bytes);
  }

  /** Says that no more packets come; the server ends the call when it has settled all. */
  end(): void {
    this.#stream.end();
  }

  /** Ends the call at once. */
  cancel(): void {
    this.#over = true;
    this.#stream.cancel();
  }
}

function numberIn(metadata: Metadata, key: string): number | undefined {
  const [value] = metadata.get(key);
  const number = value === undefined ? NaN : Number(value);
  return Number.isSafeInteger(number) && number >= 0 ? number : undefined;
}
