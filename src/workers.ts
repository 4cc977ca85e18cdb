/**
 * Several ingest processes on one port: this process, their supervisor, starts them, starts again what dies or
 * hangs, and stops them together. It takes no packets itself, so nothing is lost with it or with a worker:
 * whatever a worker had not stored it had not acknowledged.
 *
 * A worker writes a zero byte to its standard error once a second, from its event loop. One that does not is
 * killed: connections that it has accepted are not served, and the system deals it new ones.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import { Backoff } from "./runtime/backoff.ts";
import { messageOf } from "./runtime/error_text.ts";

/** What the workers are and how long they may take. */
export interface WorkersOptions {
  /** How many workers. */
  readonly count: number;
  /**
   * How worker `index`, from 1, is started. With its standard input piped: a worker stops when that ends, and so
   * it does when this process is killed. With its standard error piped: see {@linkcode startHeartbeat}.
   */
  readonly command: (index: number) => Deno.Command;
  /** Time to stop, the workers' own deadline included, before they are killed. */
  readonly stopTimeoutMs: number;
  /** Logs workers that end or hang. */
  readonly log: Logger;
  /** Where the workers' standard error goes, heartbeats left out. */
  readonly writeError: (bytes: Uint8Array) => void;
  /** Waits before one worker is started again; default {@linkcode restartBackoff}. */
  readonly backoff?: () => Backoff;
  /** Default {@linkcode HEARTBEAT_INTERVAL_MS}. */
  readonly heartbeatIntervalMs?: number;
  /** Default {@linkcode UP_AFTER_MS}. */
  readonly upAfterMs?: number;
}

/** Workers at work. */
export interface RunningWorkers {
  /** Rejects when a worker cannot even start: with wrong settings, say, or a port that is taken. */
  readonly finished: Promise<void>;
  /** Drains all of them; false if one could not do so in time. */
  drain(): Promise<boolean>;
}

/** A worker that ends sooner than this was not up: it is started again later and later, or given up. */
export const UP_AFTER_MS = 5000;

/** Time between two heartbeats. */
export const HEARTBEAT_INTERVAL_MS = 1000;

/**
 * Heartbeats that may be missing: nothing a worker does keeps its event loop from turning for seconds. A worker
 * that starts may have to be compiled first.
 */
const MISSING_HEARTBEATS = 10, MISSING_FIRST_HEARTBEATS = 60;

/** How long what a worker wrote to its standard error is waited for when it has ended. */
const LAST_WORDS_MS = 1000;

/** Wait before a worker that was up is started again, and the longest wait of one that does not come up. */
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

  /** Resolves to how it ended, when it has and its last words have been passed on. */
  async end(): Promise<Deno.CommandStatus> {
    const status = await this.#child.status;
    await this.stop();
    // A process that it has started may keep the pipe open.
    const timer = setTimeout(() => this.#readEnd.abort(), LAST_WORDS_MS);
    await this.#read;
    clearTimeout(timer);
    return status;
  }

  /** Intervals since its last heartbeat. */
  get missing(): number {
    return this.#missing;
  }

  /**
   * Called once per interval; returns whether the worker hangs. Intervals are counted, and not time: this
   * process may itself have been paused, and the heartbeats of that time wait to be read.
   */
  tick(): boolean {
    return ++this.#missing > this.#allowed && !this.#killed;
  }

  /** Ends its input: a worker stops then. */
  async stop(): Promise<void> {
    await this.#child.stdin.close().catch(() => {}); // done before, or it has ended by itself
  }

  kill(): void {
    this.#killed = true;
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended by itself.
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
  const {
    count,
    command,
    stopTimeoutMs,
    log,
    backoff: makeBackoff = restartBackoff,
    upAfterMs = UP_AFTER_MS,
  } = options;
  const stopping = new AbortController();
  const failure = Promise.withResolvers<void>();
  const processes = new Map<number, WorkerProcess>();
  let killedLate = false;

  /** Runs a process of worker `index` to its end; returns how it ended. */
  async function run(index: number): Promise<{ code: number; signal: Deno.Signal | null; reason?: string }> {
    try {
      const process = new WorkerProcess(command(index), options.writeError);
      processes.set(index, process);
      return await process.end();
    } catch (error) {
      return { code: 1, signal: null, reason: messageOf(error) };
    } finally {
      processes.delete(index);
    }
  }

  async function keep(index: number): Promise<boolean> {
    const backoff = makeBackoff();
    for (let starts = 1;; starts++) {
      const startedAtMs = performance.now();
      const { code, signal, reason } = await run(index);
      // A worker that was killed by others owes nobody anything: what it had not stored is sent again.
      if (stopping.signal.aborted) return code === 0 || (signal !== null && !killedLate);
      const upMs = Math.round(performance.now() - startedAtMs);
      if (starts === 1 && upMs < upAfterMs && signal === null) {
        const why = reason ?? "see its log line";
        failure.reject(
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
      await backoff.wait(restartMs, stopping.signal);
      if (stopping.signal.aborted) return true;
    }
  }

  const { heartbeatIntervalMs = HEARTBEAT_INTERVAL_MS } = options;
  const ticking = setInterval(() => {
    for (const [index, process] of processes) {
      if (!process.tick()) continue;
      const silentMs = process.missing * heartbeatIntervalMs;
      log.error("worker hangs, killing it", { worker: index, silentMs });
      process.kill();
    }
  }, heartbeatIntervalMs);

  const kept = Array.from({ length: count }, (_, index) => keep(index + 1));
  return {
    finished: failure.promise,
    async drain() {
      clearInterval(ticking);
      stopping.abort();
      await Promise.all(Array.from(processes.values(), (process) => process.stop()));
      const timer = setTimeout(() => {
        killedLate = true;
        for (const process of processes.values()) process.kill();
      }, stopTimeoutMs);
      const ended = await Promise.all(kept);
      clearTimeout(timer);
      return ended.every((well) => well);
    },
  };
}

/** Writes heartbeats to `output`, a worker's standard error, as long as the process lives. */
export function startHeartbeat(output: { write(bytes: Uint8Array): Promise<number> }): void {
  let isWriting = false;
  const beat = () => {
    if (isWriting) return;
    isWriting = true;
    // Nobody reads it any more when the supervisor has died, which the end of the input shows.
    output.write(new Uint8Array(1)).catch(() => {}).finally(() => isWriting = false);
  };
  beat();
  Deno.unrefTimer(setInterval(beat, HEARTBEAT_INTERVAL_MS));
}
