/**
 * Readers of the api: how many answers, how soon the first byte, and how soon a packet is visible. Speaks
 * HTTP/1.1 by hand, for `fetch` would cost more than the answers do.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import { LoadConnection, type PacketSource } from "./load_connection.ts";
import { deviceId, packetRing } from "./packet_ring.ts";

/** What to ask, and how often. */
export interface Reading {
  readonly port: number;
  readonly accept: "application/json" | "text/plain";
  readonly connections: number;
  readonly durationMs: number;
  /** From one request of a connection to its next; 0: as soon as it is answered. */
  readonly intervalMs: number;
}

/** What came of it. */
export interface ReadingResult {
  readonly answers: number;
  readonly durationMs: number;
  /** From each request to the first byte of its answer. */
  readonly firstByteMs: readonly number[];
}

/** Reads `/metrics` for a time. */
export async function runReading(reading: Reading): Promise<ReadingResult> {
  const startedAtMs = performance.now();
  const firstByteMs: number[] = [];
  await Promise.all(Array.from({ length: reading.connections }, async () => {
    const reader = await MetricsReader.connect(reading.port, reading.accept);
    try {
      for (let asked = 0;; asked++) {
        const early = startedAtMs + asked * reading.intervalMs - performance.now();
        if (early > 0) await delay(early);
        if (performance.now() - startedAtMs >= reading.durationMs) break;
        firstByteMs.push((await reader.read()).firstByteMs);
      }
    } finally {
      reader.close();
    }
  }));
  return { answers: firstByteMs.length, durationMs: performance.now() - startedAtMs, firstByteMs };
}

/** How freshness is looked at: a device of its own sends a packet every few milliseconds. */
export interface Probe {
  readonly ingestPort: number;
  readonly apiPort: number;
  readonly durationMs: number;
}

/** What came of it. */
export interface ProbeResult {
  /** From the sending of each packet to the end of the first answer that counts it. */
  readonly freshnessMs: readonly number[];
}

/** The prober's device, which no load has. */
export const PROBE_DEVICE = 999_999;

/** The prober sends, and asks, this often. Asking adds up to one interval to what is seen. */
const PROBE_INTERVAL_MS = 7, ASK_INTERVAL_MS = 5;

const PROBE_TIMEOUT_MS = 30_000;

/** Sends packets and looks for them in `/metrics`. */
export async function runProbe({ ingestPort, apiPort, durationMs }: Probe): Promise<ProbeResult> {
  const options = { rpc: "StreamPackets", packing: "message", packetsPerMessage: 1, devices: 1 } as const;
  const sentAtMs: number[] = [], freshnessMs: number[] = [];
  let due = 0, over = false;
  const source: PacketSource = {
    ring: packetRing({ ...options, firstDevice: PROBE_DEVICE }, Date.now()),
    framesPerWrite: 1,
    next() {
      if (sentAtMs.length === due) return over ? "end" : "wait";
      sentAtMs.push(performance.now());
      return { from: 0, to: 1 };
    },
  };
  const sender = await LoadConnection.open(ingestPort, "/TelemetryIngest/StreamPackets", 1, source);
  const reader = await MetricsReader.connect(apiPort, "application/json");
  const timer = setInterval(() => {
    due++;
    sender.wake();
  }, PROBE_INTERVAL_MS);
  try {
    const startedAtMs = performance.now();
    const shown = new RegExp(`"${deviceId(PROBE_DEVICE)}","count":(\\d+)`);
    const before = Number(shown.exec((await reader.read()).body)?.[1] ?? 0);
    while (!over || freshnessMs.length < sentAtMs.length) {
      await delay(ASK_INTERVAL_MS);
      const { body } = await reader.read();
      const visible = Number(shown.exec(body)?.[1] ?? 0) - before, nowMs = performance.now();
      while (freshnessMs.length < visible) freshnessMs.push(nowMs - sentAtMs[freshnessMs.length]!);
      if (nowMs - startedAtMs >= durationMs && !over) {
        over = true;
        clearInterval(timer);
        sender.wake();
      }
      if (nowMs - startedAtMs >= durationMs + PROBE_TIMEOUT_MS) {
        throw new Error(
          `${sentAtMs.length} packets sent, ${freshnessMs.length} visible ${PROBE_TIMEOUT_MS} ms later`,
        );
      }
    }
    await sender.done;
    return { freshnessMs };
  } finally {
    clearInterval(timer);
    sender.close();
    reader.close();
  }
}

/** Asks for `/metrics` on one connection, again and again. */
class MetricsReader {
  readonly #tcp: Deno.TcpConn;
  readonly #request: Uint8Array;
  readonly #buffer = new Uint8Array(2 ** 18);

  private constructor(tcp: Deno.TcpConn, accept: string) {
    this.#tcp = tcp;
    this.#request = new TextEncoder().encode(
      `GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: ${accept}\r\nAccept-Encoding: identity\r\n\r\n`,
    );
  }

  static async connect(port: number, accept: string): Promise<MetricsReader> {
    const tcp = await Deno.connect({ hostname: "127.0.0.1", port });
    tcp.setNoDelay();
    return new MetricsReader(tcp, accept);
  }

  async read(): Promise<{ firstByteMs: number; body: string }> {
    const askedAtMs = performance.now();
    await this.#tcp.write(this.#request);
    const decoder = new TextDecoder();
    let text = "", firstByteMs: number | undefined;
    for (let headEnd = -1, missing = 0;;) {
      const length = await this.#tcp.read(this.#buffer);
      firstByteMs ??= performance.now() - askedAtMs;
      if (length === null) throw new Error("the api closed the connection inside an answer");
      text += decoder.decode(this.#buffer.subarray(0, length), { stream: true });
      missing -= length;
      if (headEnd < 0) {
        headEnd = text.indexOf("\r\n\r\n") + 4;
        if (headEnd < 4) throw new Error("an answer's head came in parts");
        const bodyBytes = Number(/\r\ncontent-length: (\d+)\r\n/i.exec(text.slice(0, headEnd))?.[1]);
        if (!text.startsWith("HTTP/1.1 200 ") || Number.isNaN(bodyBytes)) {
          throw new Error(`/metrics answered: ${text.slice(0, 300)}`);
        }
        missing = headEnd + bodyBytes - length;
      }
      if (missing === 0) return { firstByteMs, body: text.slice(headEnd) };
    }
  }

  close(): void {
    this.#tcp.close();
  }
}
