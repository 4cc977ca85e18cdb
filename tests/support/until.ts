/**
 * Waiting for what cannot be awaited: the state of another process.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

/** Resolves when `condition` does to true, looked at every few milliseconds; rejects after ten seconds, or `seconds`. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  seconds = 10,
): Promise<void> {
  const deadline = performance.now() + seconds * 1_000;
  while (!await condition()) {
    if (performance.now() >= deadline) throw new Error(`waited ${seconds} seconds in vain until ${what}`);
    await delay(5);
  }
}
