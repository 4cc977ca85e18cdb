/**
 * Waiting for what cannot be awaited: the state of another process.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

/** Resolves when `condition` does to true, looked at every few milliseconds; rejects after ten seconds. */
export async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!await condition()) {
    if (performance.now() >= deadline) throw new Error(`waited ten seconds in vain until ${what}`);
    await delay(5);
  }
}
