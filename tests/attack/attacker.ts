/**
 * An attack at work: its connections, its clock, and what became of them.
 *
 * @module
 */
import { preface } from "../http2/raw_connection.ts";
import { AttackConnection } from "./attack_connection.ts";

/** One way to attack; a row of the table. */
export interface Attack {
  readonly name: string;
  /** No peer that means well does this: the server has to end the connection, or each of its calls. */
  readonly mustEnd?: true;
  /** Slow ones need longer to be seen through: this many times the usual time. */
  readonly timeFactor?: number;
  /** Settings of the ingest, which gets no other attack then. */
  readonly settings?: Readonly<Record<string, string>>;
  /** What its store holds at the end, at the most. */
  readonly most?: { readonly devices?: number; readonly sessions?: number };
  /** Goes on until the time is up, or until all is in place that is held. */
  run(attacker: Attacker): Promise<void>;
}

/** Where telemetry goes. */
export const PACKETS_PATH = "/TelemetryIngest/StreamPackets", BATCHES_PATH = "/TelemetryIngest/StreamBatches";

/** Packets of devices whose ids begin so must not be counted, those of the other prefix may be. */
export const NEVER_COUNTED = "never-", MAY_BE_COUNTED = "attack-";

/** What the server did about an attack. */
export interface AttackOutcome {
  /** Connections that were accepted, and attempts that were not. */
  readonly connections: number;
  readonly refused: number;
  /** Connections that the server closed, and those still open at the end. */
  readonly closed: number;
  readonly stillOpen: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** GOAWAY and RST_STREAM frames by error code; ended calls by grpc-status, `none` where there was none. */
  readonly goaway: Readonly<Record<string, number>>;
  readonly resets: Readonly<Record<string, number>>;
  readonly statuses: Readonly<Record<string, number>>;
  /** Packets of the attack that may be counted: those that broke no rule. */
  readonly validPackets: number;
  /** What must not have happened; see {@linkcode Attacker.mustHoldAtEnd}. */
  readonly violations: readonly string[];
}

/** Attempts to connect after a refusal come at this distance. */
const RECONNECT_MS = 10;

/** One attack at work: its connections, its clock, and what became of them. */
export class Attacker {
  connections = 0;
  refused = 0;
  closed = 0;
  bytesSent = 0;
  bytesReceived = 0;
  validPackets = 0;
  readonly goaway = new Map<string, number>();
  readonly resets = new Map<string, number>();
  readonly statuses = new Map<string, number>();
  readonly #open = new Set<AttackConnection>();
  readonly #checks: (() => string | undefined)[] = [];
  readonly #timeUp = Promise.withResolvers<void>();
  #over = false;

  /** Attacks the server on `port` of this machine for `durationMs`. */
  constructor(readonly port: number, readonly durationMs: number) {}

  /** The time is up, or the server takes no connections. */
  get over(): boolean {
    return this.#over;
  }

  /** Runs an attack until the time is up. */
  async run(attack: (attacker: Attacker) => Promise<void>): Promise<AttackOutcome> {
    const timer = setTimeout(() => this.#end(), this.durationMs);
    let stillOpen = 0, violations: string[] = [];
    const ended = this.#timeUp.promise.then(() => {
      stillOpen = this.#open.size;
      violations = this.#checks.flatMap((check) => check() ?? []);
    });
    try {
      await Promise.race([attack(this), this.#timeUp.promise]);
      // What was achieved early stays as it is until the time is up: connections that are held, are held.
      await ended;
    } finally {
      clearTimeout(timer);
      this.#end();
      for (const connection of [...this.#open]) connection[Symbol.dispose]();
    }
    const { connections, refused, closed, bytesSent, bytesReceived, validPackets } = this;
    return {
      ...{ connections, refused, closed, stillOpen, bytesSent, bytesReceived, validPackets },
      goaway: Object.fromEntries(this.goaway),
      resets: Object.fromEntries(this.resets),
      statuses: Object.fromEntries(this.statuses),
      violations,
    };
  }

  /** Attacks again and again, each time on a new connection, until the time is up. */
  async repeat(onConnection: (connection: AttackConnection) => Promise<void>): Promise<void> {
    while (!this.#over) {
      const connection = await this.connect();
      if (connection === undefined) continue;
      await onConnection(connection);
      connection[Symbol.dispose]();
    }
  }

  /** Connects and sends the preface; undefined when the server refuses, after a short wait. */
  async connect({ reads = true, sendsPreface = true } = {}): Promise<AttackConnection | undefined> {
    try {
      const tcp = await Deno.connect({ hostname: "127.0.0.1", port: this.port });
      tcp.setNoDelay();
      const connection = new AttackConnection(this, tcp, reads);
      this.connections++;
      this.#open.add(connection);
      if (sendsPreface) await connection.send(preface);
      return connection;
    } catch {
      this.refused++;
      await this.wait(RECONNECT_MS);
      return undefined;
    }
  }

  /** Resolves after a time, or when the attack's is up. */
  wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#timeUp.promise.then(() => (clearTimeout(timer), resolve()));
    });
  }

  /** A promise to others that this attack must not break: `check` names how it was broken, if it was. */
  mustHoldAtEnd(check: () => string | undefined): void {
    this.#checks.push(check);
  }

  /** `connection` is over; `byServer`: the server ended it. */
  release(connection: AttackConnection, byServer: boolean): void {
    if (this.#open.delete(connection) && byServer && !this.#over) this.closed++;
  }

  #end(): void {
    this.#over = true;
    this.#timeUp.resolve();
  }
}
