/**
 * Real servers for tests: an ingest role on a free port with a store of its own, and a device that sends
 * exactly the bytes of a test.
 *
 * @module
 */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type SecureClientSessionOptions,
} from "node:http2";
import { DatabaseSync } from "node:sqlite";

import { getLogger } from "@logtape/logtape";

import { type IngestOptions, type RunningIngest, startIngest } from "../../src/ingest/ingest.ts";
import type { Ack, Packet } from "../../src/protocol/messages.ts";
import { streamBatches, streamPackets } from "../../src/protocol/telemetry_proto.ts";
import { openSqliteStore } from "../../src/store/sqlite/sqlite_store.ts";
import type { Store } from "../../src/store/store.ts";

/** Settings as in production, but a free port. */
export const ingestDefaults = {
  host: "127.0.0.1",
  port: 0,
  reusePort: false,
  hostName: "test",
  pid: Deno.pid,
  worker: 0,
  queueMaxPackets: 10_000,
  queueMaxBytes: 16 * 2 ** 20,
  flushIntervalMs: 10,
  maxPayloadBytes: 64 * 2 ** 10,
  maxMessageBytes: 4 * 2 ** 20,
  maxClockAheadMs: 24 * 3_600_000,
  maxStreams: 10_000,
  maxConnections: 20_000,
  storeGraceMs: 5000,
  drainTimeoutMs: 10_000,
  log: getLogger(["tally", "test"]),
  now: Date.now,
} as const satisfies Partial<IngestOptions>;

/** A store in a file that goes away with it; `sql` is what another program does to the file. */
export async function temporaryStore(): Promise<Store & AsyncDisposable & { sql(statements: string): void }> {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/tally.db`;
  const store = await openSqliteStore({ path, ackAfter: { kind: "stored" }, values: { maxNames: 16 } });
  return Object.assign(store, {
    sql(statements: string) {
      const db = new DatabaseSync(path);
      db.exec(statements);
      db.close();
    },
    async [Symbol.asyncDispose]() {
      await store.close();
      await Deno.remove(folder, { recursive: true });
    },
  });
}

/** A running ingest role that drains when it goes out of scope. */
export interface TestIngest extends RunningIngest, AsyncDisposable {}

/** Starts an ingest role on `store`. */
export async function startTestIngest(
  options: Partial<IngestOptions> & { store: Store },
): Promise<TestIngest> {
  const ingest = await startIngest({ ...ingestDefaults, ...options });
  let draining: Promise<boolean> | undefined;
  const drain = () => draining ??= ingest.drain();
  return {
    ...ingest,
    get fastPath() {
      return ingest.fastPath;
    },
    drain,
    async [Symbol.asyncDispose]() {
      await drain();
    },
  };
}

/** A packet that breaks no rule. */
export function packet(deviceId = "sensor-1", payload = "abcd", timestamp = Date.now()): Packet {
  return { device_id: deviceId, timestamp, payload: new TextEncoder().encode(payload) };
}

/** A message as it stands in the stream: after the five bytes of its prefix, which has its length. */
export function framed(message: Uint8Array, compressed = false): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(5 + message.length);
  bytes[0] = compressed ? 1 : 0;
  new DataView(bytes.buffer).setUint32(1, message.length);
  bytes.set(message, 5);
  return bytes;
}

/** `Packet`, framed. */
export const framedPacket = (value: Packet) => framed(streamPackets.requestSerialize(value));

/** `PacketBatch`, framed. */
export const framedBatch = (packets: readonly Packet[]) =>
  framed(streamBatches.requestSerialize({ packets }));

/** How a call ended. */
export interface CallEnd {
  /** gRPC status code; -1 when the connection ended without one. */
  readonly code: number;
  readonly details: string;
  /** `telemetry-committed` of the trailers. */
  readonly committed: string | undefined;
  readonly acks: readonly Ack[];
  /** The last Ack. */
  readonly ack: Ack | undefined;
}

/** Where a device connects: a port, or one with TLS. */
export type TestTarget = number | { readonly port: number; readonly tls: SecureClientSessionOptions };

/** Opens a connection. */
export function openSession(target: TestTarget): ClientHttp2Session {
  const session = typeof target === "number"
    ? connect(`http://127.0.0.1:${target}`)
    : connect(`https://localhost:${target.port}`, target.tls);
  session.on("error", () => {});
  return session;
}

/** One call of the telemetry service, byte by byte. */
export class RawCall implements AsyncDisposable {
  readonly stream: ClientHttp2Stream;
  /** `telemetry-committed` of the initial metadata. */
  readonly committed: Promise<string | undefined>;
  /** All that the response has had of these keys: `telemetry-lost`, `telemetry-claim`. */
  lost: string | undefined;
  claim: string | undefined;
  readonly end: Promise<CallEnd>;
  readonly acks: Ack[] = [];
  readonly #session: ClientHttp2Session;
  #received = new Uint8Array(0);

  /** Opens a connection and the call; or only the call, on the connection of `other`. */
  constructor(
    target: TestTarget,
    method = "StreamPackets",
    headers: Record<string, string> = {},
    other?: RawCall,
  ) {
    this.#session = other === undefined ? openSession(target) : other.#session;
    const path = method.startsWith("/") ? method : `/TelemetryIngest/${method}`;
    const all = {
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    };
    const stream = this.stream = this.#session.request(all);
    stream.on("error", () => {});
    this.committed = new Promise((resolve) => {
      stream.on("response", (headers) => {
        // With a status they are trailers: the call has ended before it had its session.
        if (headers["grpc-status"] === undefined) {
          this.lost = headers["telemetry-lost"] as string | undefined;
          this.claim = headers["telemetry-claim"] as string | undefined;
          resolve(headers["telemetry-committed"] as string | undefined);
        }
      });
      stream.on("close", () => resolve(undefined));
    });
    let trailers: Record<string, unknown> = {};
    stream.on("response", (headers) => {
      trailers = { ...headers };
      if (headers["grpc-status"] !== undefined) stream.end();
    });
    stream.on("trailers", (headers) => {
      trailers = { ...headers };
      stream.end(); // as gRPC libraries do: the call is over
    });
    stream.on("data", (chunk: Uint8Array) => this.#take(chunk));
    this.end = new Promise((resolve) => {
      stream.on("close", () => {
        if (other === undefined) this.#session.close();
        resolve({
          code: Number(trailers["grpc-status"] ?? -1),
          details: decodeURIComponent(String(trailers["grpc-message"] ?? "")),
          committed: trailers["telemetry-committed"] as string | undefined,
          acks: this.acks,
          ack: this.acks.at(-1),
        });
      });
    });
  }

  /** Opens a call of a session. */
  static session(
    target: TestTarget,
    session: string,
    offset?: number,
    method?: string,
    headers: Record<string, string> = {},
  ): RawCall {
    const start = offset === undefined ? {} : { "telemetry-offset": String(offset) };
    return new RawCall(target, method, { ...headers, "telemetry-session": session, ...start });
  }

  /** Sends bytes; resolves when they left, so that what follows is another chunk. */
  send(...parts: Uint8Array[]): Promise<void> {
    return new Promise((resolve) => this.stream.write(Buffer.concat(parts), () => resolve()));
  }

  /** Sends the rest and the end of the stream; resolves to how the call ended. */
  finish(...parts: Uint8Array[]): Promise<CallEnd> {
    this.stream.end(Buffer.concat(parts));
    return this.end;
  }

  /** The device vanishes. */
  vanish(): void {
    this.#session.destroy();
  }

  /** The device cancels the call. */
  cancel(): void {
    this.stream.close(constants.NGHTTP2_CANCEL);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#session.destroy();
    await this.end;
  }

  #take(chunk: Uint8Array): void {
    this.#received = new Uint8Array(Buffer.concat([this.#received, chunk]));
    while (this.#received.length >= 5) {
      const length = new DataView(this.#received.buffer).getUint32(1);
      if (this.#received.length < 5 + length) return;
      this.acks.push(streamPackets.responseDeserialize(Buffer.from(this.#received.subarray(5, 5 + length))));
      this.#received = this.#received.slice(5 + length);
    }
  }
}
