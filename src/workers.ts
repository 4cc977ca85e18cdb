/**
 * Several ingest processes on one port: this process starts them, starts again what dies, and stops them
 * together. It takes no packets itself, so nothing is lost with it or with a worker: whatever a worker
 * had not stored it had not acknowledged.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

/** What the workers are and how long they may take. */
export interface WorkersOptions {
  readonly count: number;
  /** How worker `index` is started; it gets SIGTERM to stop. */
  readonly command: (index: number) => Deno.Command;
  /** Time to stop, the workers' own deadline included, before they are killed. */
  readonly stopTimeoutMs: number;
  readonly log: Logger;
}

/** Workers at work. */
export interface RunningWorkers {
  /** Rejects when a worker cannot even start: with wrong settings, say, or a port that is taken. */
  readonly failed: Promise<never>;
  /** Stops all of them; false if one did not stop well and in time. */
  stop(): Promise<boolean>;
}

/** A worker that ends sooner than this was not up: it is started again later and later, or given up. */
const UP_AFTER_MS = 5000;

/** Wait before a worker that was up is started again, and the longest wait of one that does not come up. */
const FIRST_RESTART_MS = 100, LAST_RESTART_MS = 10_000;

/** Starts `count` workers. */
export function startWorkers({ count, command, stopTimeoutMs, log }: WorkersOptions): RunningWorkers {
  const stopping = new AbortController();
  const failure = Promise.withResolvers<never>();
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
      await pause(restartMs, stopping.signal);
      if (stopping.signal.aborted) return true;
    }
  }

  const kept = Array.from({ length: count }, (_, index) => keep(index + 1));
  return {
    failed: failure.promise,
    async stop() {
      stopping.abort();
      signalAll(children, "SIGTERM");
      let killed = false;
      const timer = setTimeout(() => {
        killed = true;
        signalAll(children, "SIGKILL");
      }, stopTimeoutMs);
      const ended = await Promise.all(kept);
      clearTimeout(timer);
      return !killed && ended.every((well) => well);
    },
  };
}

function signalAll(children: Iterable<Deno.ChildProcess>, signal: Deno.Signal): void {
  for (const child of children) {
    try {
      child.kill(signal);
    } catch {
      // It has ended in this moment.
    }
  }
}

function pause(durationMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, durationMs);
    signal.addEventListener("abort", done);
  });
}
