/**
 * Several ingest processes on one port: this process starts them, starts again what dies, and stops them
 * together. It takes no packets itself, so nothing is lost with it or with a worker: whatever a worker
 * had not stored it had not acknowledged.
 *
 * @module
 */
import { setTimeout as pause } from "node:timers/promises";

import type { Logger } from "@logtape/logtape";

/** What the workers are and how long they may take. */
export interface WorkersOptions {
  /** How many workers. */
  readonly count: number;
  /**
   * How worker `index`, from 1, is started. With its standard input piped: a worker stops when that
   * ends, and so it does when this process is killed.
   */
  readonly command: (index: number) => Deno.Command;
  /** Time to stop, the workers' own deadline included, before they are killed. */
  readonly stopTimeoutMs: number;
  /** Told when a worker ends that should not. */
  readonly log: Logger;
}

/** Workers at work. */
export interface RunningWorkers {
  /** Rejects when a worker cannot even start: with wrong settings, say, or a port that is taken. */
  readonly finished: Promise<void>;
  /** Drains all of them; false if one did not end well and in time. */
  drain(): Promise<boolean>;
}

/** A worker that ends sooner than this was not up: it is started again later and later, or given up. */
const UP_AFTER_MS = 5000;

/** Wait before a worker that was up is started again, and the longest wait of one that does not come up. */
const FIRST_RESTART_MS = 100, LAST_RESTART_MS = 10_000;

/** Starts `count` workers. */
export function startWorkers({ count, command, stopTimeoutMs, log }: WorkersOptions): RunningWorkers {
  const stopping = new AbortController();
  const failure = Promise.withResolvers<void>();
  const children = new Set<Deno.ChildProcess>();

  async function keep(index: number): Promise<boolean> {
    let restartMs = FIRST_RESTART_MS;
    for (let starts = 1;; starts++) {
      const startedAtMs = performance.now();
      const child = command(index).spawn();
      children.add(child);
      const { code, signal } = await child.status;
      children.delete(child);
      if (stopping.signal.aborted) return code === 0;
      const upMs = Math.round(performance.now() - startedAtMs);
      if (starts === 1 && upMs < UP_AFTER_MS && signal === null) {
        failure.reject(
          new Error(`worker ${index} ended with code ${code} as soon as it was started; see its log line`),
        );
        return false;
      }
      restartMs = upMs < UP_AFTER_MS ? Math.min(restartMs * 2, LAST_RESTART_MS) : FIRST_RESTART_MS;
      log.error("worker ended, starting it again", { worker: index, code, signal, upMs, restartMs });
      await pause(restartMs, undefined, stopping).catch(() => {}); // aborted
      if (stopping.signal.aborted) return true;
    }
  }

  const kept = Array.from({ length: count }, (_, index) => keep(index + 1));
  return {
    finished: failure.promise,
    async drain() {
      stopping.abort();
      for (const child of children) await child.stdin.close();
      let killed = false;
      const timer = setTimeout(() => {
        killed = true;
        for (const child of children) child.kill("SIGKILL");
      }, stopTimeoutMs);
      const ended = await Promise.all(kept);
      clearTimeout(timer);
      return !killed && ended.every((well) => well);
    },
  };
}
