/**
 * Several ingest processes on one port: this process, their supervisor, starts them, restarts those that die or
 * hang, and stops them together. It receives no packets itself, so nothing is lost with it or with a worker: a
 * worker acknowledges only packets that are stored.
 *
 * A worker writes a zero byte, a heartbeat, to its standard error once a second, from its event loop. A worker
 * without heartbeats is killed: its connections are not served, and the system assigns it new ones.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import { Backoff } from "./runtime/backoff.ts";
import { messageOf } from "./runtime/error_text.ts";

/** The commands and the times of workers. */
export interface WorkersOptions {
  /** How many workers. */
  readonly count: number;
  /**
   * The command of worker `index`, from 1. Its standard input is piped: a worker stops at its end, which is also
   * how it notices that this process was killed. Its standard error is piped: see {@linkcode startHeartbeat}.
   */
  readonly command: (index: number) => Deno.Command;
  /** Time to stop, the workers' own deadline included, before they are killed. */
  readonly stopTimeoutMs: number;
  /** Logs workers that end or hang. */
  readonly log: Logger;
  /** Receives the workers' standard error, without heartbeats. */
  readonly writeError: (bytes: Uint8Array) => void;
  /** Back-off before a worker is restarted; default {@linkcode restartBackoff}. */
  readonly backoff?: () => Backoff;
  /** Default one second. */
  readonly heartbeatIntervalMs?: number;
  /** A worker that ends sooner has failed to start; default five seconds. */
  readonly upAfterMs?: number;
}

/** Running workers. */
export interface RunningWorkers {
  /** Rejects when a worker cannot start, with wrong settings or a port in use for example. */
  readonly finished: Promise<void>;
  /** Drains all of them; false if one did not drain in time. */
  drain(): Promise<boolean>;
}

/** A worker that ends sooner has failed to start: it is restarted with back-off, or not at all. */
const UP_AFTER_MS = 5000;

/** Time between two heartbeats. */
const HEARTBEAT_INTERVAL_MS = 1000;

/**
 * Heartbeats that may be missing: no work of a worker blocks its event loop for seconds. At the start its code
 * may have to be compiled first.
 */
const MISSING_HEARTBEATS = 10, MISSING_FIRST_HEARTBEATS = 60;

/** Time to read the standard error of a worker that has ended. */
const LAST_OUTPUT_MS = 1000;

/** Back-off before a worker is restarted. */
export function restartBackoff(): Backoff {
  return new Backoff({ firstMs: 100, maxMs: 10_000 });
}

/** One process of a worker. */
class WorkerProcess {
  readonly #child: Deno.ChildProcess;
  #missing = 0;
  #allowed = MISSING_FIRST_HEARTBEATS;
  #killed = false;
  readonly #read: Promise<void>;
  readonly #readEnd = new AbortController();

  /** Starts it; throws if it cannot be started. */
  constructor(command: Deno.Command, writeError: (bytes: Uint8Array) => void) {
    this.#child = command.spawn();
    this.#read = this.#readError(writeError);
  }

  /** Resolves to its status when it has ended and its standard error was passed on. */
  async end(): Promise<Deno.CommandStatus> {
    const status = await this.#child.status;
    await this.stop();
    // A process that it started may keep the pipe open.
    const timer = setTimeout(() => this.#readEnd.abort(), LAST_OUTPUT_MS);
    await this.#read;
    clearTimeout(timer);
    return status;
  }

  /** Intervals since its last heartbeat. */
  get missing(): number {
    return this.#missing;
  }

  /**
   * Called once per interval; returns whether the worker hangs. It counts intervals, not time: this process may
   * have been paused itself, with heartbeats of that time still unread.
   */
  tick(): boolean {
    return ++this.#missing > this.#allowed && !this.#killed;
  }

  /** Ends its input, at which a worker stops. */
  async stop(): Promise<void> {
    await this.#child.stdin.close().catch(() => {}); // closed before, or the process has ended
  }

  kill(): void {
    this.#killed = true;
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended already.
    }
  }

  async #readError(writeError: (bytes: Uint8Array) => void): Promise<void> {
    const { signal } = this.#readEnd;
    const write = new WritableStream<Uint8Array>({
      write: (bytes) => {
        const text = bytes.filter((byte) => byte !== 0);
        if (text.length < bytes.length) {
          this.#missing = 0;
          this.#allowed = MISSING_HEARTBEATS;
        }
        if (text.length > 0) writeError(text);
      },
    });
    await this.#child.stderr.pipeTo(write, { signal }).catch(() => {}); // aborted
  }
}

/** Starts `count` workers. */
export function startWorkers(options: WorkersOptions): RunningWorkers {
  const supervisor = new Supervisor(options);
  return { finished: supervisor.finished, drain: () => supervisor.drain() };
}

/** Keeps workers running until they are drained. */
class Supervisor {
  readonly #options: WorkersOptions;
  readonly #stopping = new AbortController();
  readonly #failure = Promise.withResolvers<void>();
  readonly #processes = new Map<number, WorkerProcess>();
  readonly #kept: readonly Promise<boolean>[];
  readonly #ticking: ReturnType<typeof setInterval>;
  readonly #heartbeatIntervalMs: number;
  /** Workers were killed because they did not drain in time. */
  #killedLate = false;

  constructor(options: WorkersOptions) {
    this.#options = options;
    this.#heartbeatIntervalMs = options.heartbeatIntervalMs ?? HEARTBEAT_INTERVAL_MS;
    this.#ticking = setInterval(() => this.#killHanging(), this.#heartbeatIntervalMs);
    this.#kept = Array.from({ length: options.count }, (_, index) => this.#keep(index + 1));
  }

  get finished(): Promise<void> {
    return this.#failure.promise;
  }

  async drain(): Promise<boolean> {
    clearInterval(this.#ticking);
    this.#stopping.abort();
    await Promise.all(Array.from(this.#processes.values(), (process) => process.stop()));
    const timer = setTimeout(() => {
      this.#killedLate = true;
      for (const process of this.#processes.values()) process.kill();
    }, this.#options.stopTimeoutMs);
    const drained = await Promise.all(this.#kept);
    clearTimeout(timer);
    return drained.every((isDrained) => isDrained);
  }

  /** Runs worker `index`, again after each end, until the workers are drained; returns whether it was. */
  async #keep(index: number): Promise<boolean> {
    const { log, backoff: makeBackoff = restartBackoff, upAfterMs = UP_AFTER_MS } = this.#options;
    const { signal: stopSignal } = this.#stopping;
    const backoff = makeBackoff();
    for (let starts = 1;; starts++) {
      const startedAtMs = performance.now();
      const { code, signal, reason } = await this.#run(index);
      // A worker that others killed is no failure: devices send again what it had not stored.
      if (stopSignal.aborted) return code === 0 || (signal !== null && !this.#killedLate);
      const upMs = Math.round(performance.now() - startedAtMs);
      if (starts === 1 && upMs < upAfterMs && signal === null) {
        const why = reason ?? "see its log line";
        this.#failure.reject(
          new Error(`worker ${index} ended with code ${code} as soon as it was started; ${why}`),
        );
        return false;
      }
      if (upMs >= upAfterMs) backoff.succeeded();
      const restartMs = Math.round(backoff.failed());
      log.error("worker ended, starting it again", {
        ...{ worker: index, code, signal, upMs, restartMs },
        ...reason === undefined ? {} : { reason },
      });
      await backoff.wait(restartMs, stopSignal);
      if (stopSignal.aborted) return true;
    }
  }

  /** Runs a process of worker `index` until it ends; returns its status. */
  async #run(index: number): Promise<{ code: number; signal: Deno.Signal | null; reason?: string }> {
    try {
      const process = new WorkerProcess(this.#options.command(index), this.#options.writeError);
      this.#processes.set(index, process);
      return await process.end();
    } catch (error) {
      return { code: 1, signal: null, reason: messageOf(error) };
    } finally {
      this.#processes.delete(index);
    }
  }

  #killHanging(): void {
    for (const [index, process] of this.#processes) {
      if (!process.tick()) continue;
      const silentMs = process.missing * this.#heartbeatIntervalMs;
      this.#options.log.error("worker hangs, killing it", { worker: index, silentMs });
      process.kill();
    }
  }
}

/** Writes heartbeats to `output`, a worker's standard error, as long as the process lives. */
export function startHeartbeat(output: { write(bytes: Uint8Array): Promise<number> }): void {
  let isWriting = false;
  const beat = () => {
    if (isWriting) return;
    isWriting = true;
    // It fails when the supervisor is gone, which the end of the input shows.
    output.write(new Uint8Array(1)).catch(() => {}).finally(() => isWriting = false);
  };
  beat();
  Deno.unrefTimer(setInterval(beat, HEARTBEAT_INTERVAL_MS));
}
