/**
 * The load generator: connects, opens calls, sends packets for a time, and reads what became of them. Runs
 * in a process of its own (`load_process.ts`), so that it shares no event loop with what is measured.
 *
 * @module
 */
import { LoadConnection, type LoadStream, type PacketSource, type Span } from "./load_connection.ts";
import { type PacketRing, packetRing, type PacketRingOptions } from "./packet_ring.ts";

/** What to send, and to where. */
export interface Load extends PacketRingOptions {
  readonly port: number;
  /** PEM of the authority of the server's certificate; undefined: plain text. */
  readonly ca?: string | undefined;
  readonly connections: number;
  readonly streamsPerConnection: number;
  readonly framesPerWrite: number;
  /** Sends for this long, and further until `minPackets` are sent. */
  readonly durationMs: number;
  readonly minPackets: number;
  /** All streams together; undefined: as fast as it goes. */
  readonly packetsPerSecond: number | undefined;
  /** Packets of the ring that were sent before, as it is: it goes on behind them. */
  readonly skipPackets: number;
}

/** What became of it. */
export interface LoadResult {
  /** Until every connection was up and the server had its calls. */
  readonly connectMs: number;
  readonly refused: number;
  readonly sent: number;
  /** Stored, by the Acks; a server that only says `ok` is believed. */
  readonly acknowledged: number;
  /** Calls that did not end well, and why the first of them did not. */
  readonly failed: number;
  readonly failures: readonly string[];
  /** The first packet, and the last Ack: Unix milliseconds, with fractions. */
  readonly startedMs: number;
  readonly endedMs: number;
  /** Share of one core that the generator used meanwhile: near 1, it is what limits. */
  readonly generatorCpu: number;
}

const SHOWN_FAILURES = 5;

/** How long calls may go on after `durationMs`: to send `minPackets`, and to end. */
const SETTLE_TIMEOUT_MS = 300_000;

/** How often a rate is heeded. */
const TICK_MS = 5;

/** Rings are large: the last one is kept for the next run. */
let kept: { readonly key: string; readonly ring: PacketRing } | undefined;

/** Runs one load; `cpuMs` is what this process has used of a core so far. */
export async function runLoad(load: Load, cpuMs: () => number): Promise<LoadResult> {
  const source = new LoadSource(load, ringOf(load));
  const path = `/TelemetryIngest/${load.rpc}`;
  const connectingAtMs = performance.now();
  const attempts = await Promise.allSettled(
    Array.from({ length: load.connections }, async () => {
      const connection = await LoadConnection.open(
        load.port,
        path,
        load.streamsPerConnection,
        source,
        load.ca,
      );
      await connection.opened;
      return connection;
    }),
  );
  const connections = attempts.flatMap((attempt) => attempt.status === "fulfilled" ? [attempt.value] : []);
  const refusals = attempts.flatMap((attempt) =>
    attempt.status === "rejected" ? [String(attempt.reason)] : []
  );
  const startedAtMs = performance.now(), cpuBeforeMs = cpuMs();

  source.start(connections.flatMap(({ streams }) => streams));
  // They are lost then, and say so.
  const timer = setTimeout(
    () => connections.forEach((one) => one.close()),
    load.durationMs + SETTLE_TIMEOUT_MS,
  );
  await Promise.all(connections.map(({ done }) => done));
  clearTimeout(timer);
  source.stop();
  const endedAtMs = performance.now(), generatorCpu = (cpuMs() - cpuBeforeMs) / (endedAtMs - startedAtMs);
  for (const connection of connections) connection.close();

  let acknowledged = 0;
  const failures = refusals;
  for (const { outcome } of connections.flatMap(({ streams }) => streams)) {
    if (outcome === undefined) continue;
    if ("failure" in outcome) failures.push(outcome.failure);
    else acknowledged += outcome.ack.stored;
  }
  return {
    connectMs: startedAtMs - connectingAtMs,
    refused: load.connections - connections.length,
    sent: source.sent,
    acknowledged,
    failed: failures.length,
    failures: failures.slice(0, SHOWN_FAILURES),
    startedMs: performance.timeOrigin + startedAtMs,
    endedMs: performance.timeOrigin + endedAtMs,
    generatorCpu,
  };
}

function ringOf(load: Load): PacketRing {
  const { rpc, packetsPerMessage, packing, firstDevice, devices } = load;
  const key = JSON.stringify([rpc, packetsPerMessage, packing, firstDevice, devices]);
  if (kept?.key !== key) kept = { key, ring: packetRing(load, Date.now()) };
  return kept.ring;
}

/** Deals the ring out to the streams, in its order, until the time is over. */
class LoadSource implements PacketSource {
  sent = 0;
  readonly framesPerWrite: number;
  readonly #groupsPerSpan: number;
  #streams: readonly LoadStream[] = [];
  #group: number;
  #state: "waiting" | "sending" | "over" = "waiting";
  #startedAtMs = 0;
  #granted = 0;
  #turn = 0;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(readonly load: Load, readonly ring: PacketRing) {
    this.framesPerWrite = load.framesPerWrite;
    this.#groupsPerSpan = Math.max(1, Math.floor(load.framesPerWrite / ring.framesPerGroup));
    this.#group = load.skipPackets / ring.packetsPerGroup % ring.groups;
    if (!Number.isInteger(this.#group)) {
      throw new RangeError(
        `cannot go on behind ${load.skipPackets} packets: found groups of ${ring.packetsPerGroup}`,
      );
    }
  }

  start(streams: readonly LoadStream[]): void {
    this.#streams = streams;
    this.#state = "sending";
    this.#startedAtMs = performance.now();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#tick();
    for (const { connection } of streams) connection.wake();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  next(stream: LoadStream): Span | "wait" | "end" {
    if (this.#state !== "sending") return this.#state === "over" ? "end" : "wait";
    const { ring, load } = this;
    let groups = Math.min(this.#groupsPerSpan, ring.groups - this.#group);
    if (load.packetsPerSecond !== undefined) {
      groups = Math.min(groups, stream.granted);
      if (groups === 0) return "wait";
      stream.granted -= groups;
    }
    const from = this.#group * ring.framesPerGroup;
    this.#group = (this.#group + groups) % ring.groups;
    this.sent += groups * ring.packetsPerGroup;
    return { from, to: from + groups * ring.framesPerGroup };
  }

  #tick(): void {
    const { durationMs, minPackets, packetsPerSecond } = this.load;
    const elapsedMs = performance.now() - this.#startedAtMs;
    if (elapsedMs >= durationMs && this.sent >= minPackets) {
      this.#state = "over";
      clearInterval(this.#timer);
      for (const { connection } of this.#streams) connection.wake();
    } else if (packetsPerSecond !== undefined && this.#streams.length > 0) {
      const due = elapsedMs / 1000 * packetsPerSecond / this.ring.packetsPerGroup;
      for (; this.#granted + this.#groupsPerSpan <= due; this.#granted += this.#groupsPerSpan) {
        const stream = this.#streams[this.#turn++ % this.#streams.length]!;
        stream.granted += this.#groupsPerSpan;
        stream.connection.wake();
      }
    }
  }
}
