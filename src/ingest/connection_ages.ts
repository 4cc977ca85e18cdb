/**
 * Ends connections for their age, or because they have no calls, as gRPC's proposal A9 describes: load balancers spread
 * connections, not calls, so a new ingest gets devices only as they connect again.
 *
 * At the age, a connection gets GOAWAY: its calls continue, new ones go to another connection. At the end of the grace,
 * its streams are no longer read; each gets its Ack and `telemetry-committed` when what was read is stored, and ends
 * with UNAVAILABLE, as in a drain. So its device resumes without loss.
 *
 * @module
 */
import { RequestError } from "../protocol/request_error.ts";
import type { IngestCounters } from "./counters.ts";
import type { Peer } from "./stream/call_context.ts";

/** See the module; 0 and undefined: never. */
export interface ConnectionAgeOptions {
  /** Age at which a connection gets GOAWAY, with a jitter of a tenth, so that a fleet does not connect at once. */
  readonly maxConnectionAgeMs?: number;
  /** Time from then until its streams are ended. */
  readonly maxConnectionAgeGraceMs?: number;
  /** Time without a call after which a connection gets GOAWAY. */
  readonly maxConnectionIdleMs?: number;
}

/** The part of a connection that is needed here. */
export interface AgingConnection {
  /** Its socket. */
  readonly peer: Peer;
  /** Calls open now. */
  readonly calls: number;
  /** See `Http2Connection`. */
  goAway(): Promise<void>;
  /** See `Http2Connection`. */
  finish(): void;
}

/** What {@linkcode ConnectionAges} needs. */
export interface AgesParts {
  /** Ends the telemetry streams of connections with `error`; returns the connections that still have one. */
  readonly endStreams: (peers: ReadonlySet<Peer>, error: RequestError) => ReadonlySet<Peer>;
  /** Ended connections are counted here. */
  readonly counters: Pick<IngestCounters, "connectionsEnded">;
  /** Monotonic clock, ms. */
  readonly now: () => number;
  /** From 0 to 1, 1 excluded. */
  readonly random: () => number;
}

const JITTER = 0.1;

/** How often connections are looked at, at the least. */
const LOOK_MS = 1000;

/** Time for the end of the last stream to be sent, before calls that are not telemetry end with the connection. */
const FINISH_MS = 1000;

interface Times {
  goAwayAtMs: number;
  endAtMs: number;
  /** When the connection is closed, whatever calls it has. */
  finishAtMs: number | undefined;
  idleSinceMs: number | undefined;
}

/** The connections of a process. */
export class ConnectionAges {
  readonly #options: Required<ConnectionAgeOptions>;
  readonly #parts: AgesParts;
  readonly #times = new Map<AgingConnection, Times>();
  #timer: ReturnType<typeof setInterval> | undefined;

  /** Watches nothing yet. */
  constructor(options: ConnectionAgeOptions, parts: AgesParts) {
    const { maxConnectionAgeMs = 0, maxConnectionAgeGraceMs = 0, maxConnectionIdleMs = 0 } = options;
    this.#options = { maxConnectionAgeMs, maxConnectionAgeGraceMs, maxConnectionIdleMs };
    this.#parts = parts;
    const shortestMs = Math.min(maxConnectionAgeMs || Infinity, maxConnectionIdleMs || Infinity);
    if (shortestMs === Infinity) return;
    this.#timer = setInterval(() => this.#look(), Math.min(LOOK_MS, shortestMs / 10));
  }

  /** A connection was opened. */
  add(connection: AgingConnection): void {
    if (this.#timer === undefined) return;
    const { maxConnectionAgeMs: ageMs } = this.#options, { now, random } = this.#parts;
    const jitteredMs = ageMs * (1 - JITTER + 2 * JITTER * random());
    const goAwayAtMs = ageMs === 0 ? Infinity : now() + jitteredMs;
    this.#times.set(connection, {
      goAwayAtMs,
      endAtMs: Infinity,
      finishAtMs: undefined,
      idleSinceMs: undefined,
    });
  }

  /** It was closed. */
  remove(connection: AgingConnection): void {
    this.#times.delete(connection);
  }

  /** Watches no more. */
  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#times.clear();
  }

  #look(): void {
    const nowMs = this.#parts.now(), ending = new Set<AgingConnection>();
    for (const [connection, times] of this.#times) {
      if (nowMs >= times.endAtMs) ending.add(connection);
      else if (times.endAtMs === Infinity && this.#isDue(connection, times, nowMs)) {
        times.endAtMs = nowMs + this.#options.maxConnectionAgeGraceMs;
        this.#parts.counters.connectionsEnded++;
        connection.goAway();
      }
    }
    if (ending.size > 0) this.#end(ending, nowMs);
  }

  #isDue({ calls }: AgingConnection, times: Times, nowMs: number): boolean {
    const { maxConnectionIdleMs } = this.#options;
    if (nowMs >= times.goAwayAtMs) return true;
    if (maxConnectionIdleMs === 0) return false;
    if (calls > 0) times.idleSinceMs = undefined;
    else times.idleSinceMs ??= nowMs;
    return nowMs - (times.idleSinceMs ?? nowMs) >= maxConnectionIdleMs;
  }

  /** Called again at each look until the connections are closed: streams wait for the store. */
  #end(connections: ReadonlySet<AgingConnection>, nowMs: number): void {
    const { maxConnectionAgeMs } = this.#options;
    const limit = `the connection has reached TALLY_MAX_CONNECTION_AGE (${maxConnectionAgeMs} ms)`;
    const peers = new Set(Array.from(connections, ({ peer }) => peer));
    const open = this.#parts.endStreams(peers, new RequestError("UNAVAILABLE", `${limit}: connect again`));
    for (const connection of connections) {
      if (open.has(connection.peer)) continue;
      const times = this.#times.get(connection)!;
      times.finishAtMs ??= nowMs + FINISH_MS;
      // Calls that are not telemetry, such as a watch of the health, end with the connection.
      if (nowMs >= times.finishAtMs) connection.finish();
    }
  }
}
