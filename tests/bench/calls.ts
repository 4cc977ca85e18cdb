/**
 * Calls one after the other: each connection sends a call, waits for its Ack, and sends the next. What a device
 * that sends a packet and waits sees, and a gateway that sends bodies.
 *
 * @module
 */
import { streamPackets } from "../../src/protocol/telemetry_proto.ts";
import { frame, joined, readHeaders, writeStreamId } from "../support/http2_frames.ts";
import {
  DATA,
  END_HEADERS,
  END_STREAM,
  FRAME_HEADER_BYTES,
  GOAWAY,
  HEADERS,
  INITIAL_WINDOW_BYTES,
  MAX_FRAME_BYTES,
  SETTINGS,
  WINDOW_UPDATE,
} from "../support/http2_numbers.ts";
import {
  callHeaders,
  connectionPreface,
  initialWindowOf,
  readFrames,
  type Received,
  replyTo,
  writeAll,
} from "./client_frames.ts";
import { deviceId } from "./packet_ring.ts";

/** What to call, and how often. */
export interface Calls {
  readonly port: number;
  readonly connections: number;
  readonly packetsPerCall: number;
  /** Packets are those of so many devices in turn. */
  readonly devices: number;
  readonly durationMs: number;
}

/** What came of it. */
export interface CallsResult {
  /** Packets of calls that ended with OK. */
  readonly packets: number;
  /** Why calls ended otherwise. */
  readonly failures: readonly string[];
  /** From the first byte of a call to the last of its trailers. */
  readonly latenciesMs: readonly number[];
  readonly elapsedMs: number;
}

const READ_BUFFER_BYTES = 16_384;
const RECEIVE_WINDOW_BYTES = 2 ** 30;
const PAYLOAD_BYTES = 16;
const PREFIX_BYTES = 5;

/** Calls for `durationMs`. */
export async function runCalls(calls: Calls): Promise<CallsResult> {
  const body = bodyOf(calls);
  const connections = await Promise.all(
    Array.from({ length: calls.connections }, () => CallConnection.open(calls.port, body)),
  );
  const startedMs = performance.now(), endMs = startedMs + calls.durationMs;
  const latenciesMs: number[] = [], failures: string[] = [];
  await Promise.all(connections.map(async (connection) => {
    while (performance.now() < endMs && failures.length === 0) {
      const sentMs = performance.now();
      const status = await connection.call();
      latenciesMs.push(performance.now() - sentMs);
      if (status !== "0") failures.push(`grpc-status ${status}`);
    }
    connection.close();
  }));
  const packets = (latenciesMs.length - failures.length) * calls.packetsPerCall;
  return { packets, failures, latenciesMs, elapsedMs: performance.now() - startedMs };
}

/** DATA frames of stream 1 with the messages of a call, and END_STREAM on the last. */
function bodyOf({ packetsPerCall, devices }: Calls): Uint8Array[] {
  const messages = Array.from({ length: packetsPerCall }, (_, index) => {
    const bytes = streamPackets.requestSerialize({
      device_id: deviceId(index % devices),
      timestamp: Date.now(),
      payload: new Uint8Array(PAYLOAD_BYTES).fill(97),
    });
    const prefix = new Uint8Array(PREFIX_BYTES);
    new DataView(prefix.buffer).setUint32(1, bytes.length);
    return joined(prefix, bytes);
  });
  const all = joined(...messages), frames: Uint8Array[] = [];
  for (let at = 0; at < all.length; at += MAX_FRAME_BYTES) {
    const flags = at + MAX_FRAME_BYTES >= all.length ? END_STREAM : 0;
    frames.push(frame(DATA, flags, 1, all.subarray(at, at + MAX_FRAME_BYTES)));
  }
  return frames;
}

class CallConnection {
  readonly #tcp: Deno.TcpConn;
  readonly #body: readonly Uint8Array[];
  readonly #head: Uint8Array;
  #control: Uint8Array[] = [connectionPreface(RECEIVE_WINDOW_BYTES)];
  #window = INITIAL_WINDOW_BYTES;
  #initialStreamWindow = INITIAL_WINDOW_BYTES;
  #streamWindow = 0;
  #streamId = -1;
  #next = 0;
  #writing = false;
  #outcome = Promise.withResolvers<string>();

  private constructor(tcp: Deno.TcpConn, body: readonly Uint8Array[]) {
    this.#tcp = tcp;
    this.#body = body;
    this.#next = body.length;
    this.#head = frame(HEADERS, END_HEADERS, 1, callHeaders("/TelemetryIngest/StreamPackets", "127.0.0.1"));
  }

  static async open(port: number, body: readonly Uint8Array[]): Promise<CallConnection> {
    const tcp = await Deno.connect({ hostname: "127.0.0.1", port });
    tcp.setNoDelay();
    const connection = new CallConnection(tcp, body);
    connection.#read();
    return connection;
  }

  /** Sends a call; resolves to its grpc-status. */
  call(): Promise<string> {
    this.#streamId += 2;
    this.#streamWindow = this.#initialStreamWindow;
    this.#next = 0;
    this.#outcome = Promise.withResolvers();
    writeStreamId(this.#head, 0, this.#streamId);
    this.#control.push(this.#head.slice());
    this.#write();
    return this.#outcome.promise;
  }

  close(): void {
    this.#tcp.close();
  }

  /** Writes what the windows allow. */
  async #write(): Promise<void> {
    if (this.#writing) return;
    this.#writing = true;
    try {
      for (;;) {
        const parts = this.#control;
        this.#control = [];
        for (; this.#next < this.#body.length; this.#next++) {
          const data = this.#body[this.#next]!, length = data.length - FRAME_HEADER_BYTES;
          if (length > Math.min(this.#window, this.#streamWindow)) break;
          this.#window -= length;
          this.#streamWindow -= length;
          const own = data.slice();
          writeStreamId(own, 0, this.#streamId);
          parts.push(own);
        }
        if (parts.length === 0) break;
        await writeAll(this.#tcp, joined(...parts));
      }
    } catch (error) {
      this.#outcome.resolve(String(error));
    }
    this.#writing = false;
  }

  async #read(): Promise<void> {
    try {
      await readFrames(
        this.#tcp,
        READ_BUFFER_BYTES,
        (...received) => this.#receive(...received),
        () => this.#write(),
      );
    } catch (error) {
      this.#outcome.resolve(String(error));
    }
  }

  #receive(...received: Received): void {
    const [type, flags, streamId, payload] = received;
    const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
    const reply = replyTo(received);
    if (reply !== undefined) this.#control.push(reply);
    if (type === WINDOW_UPDATE) {
      if (streamId === 0) this.#window += view.getUint32(0);
      else if (streamId === this.#streamId) this.#streamWindow += view.getUint32(0);
    } else if (type === SETTINGS) {
      const size = initialWindowOf(payload) ?? this.#initialStreamWindow;
      this.#streamWindow += size - this.#initialStreamWindow;
      this.#initialStreamWindow = size;
    } else if (type === HEADERS && flags & END_STREAM && streamId === this.#streamId) {
      this.#outcome.resolve(readHeaders(payload).get("grpc-status") ?? "none");
    } else if (type === GOAWAY) {
      throw new Error(`GOAWAY with code ${view.getUint32(4)}`);
    }
  }
}
