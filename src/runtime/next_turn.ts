/**
 * Long work in parts, between which other work of the process is served.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

/**
 * Resolves in a later turn of the event loop, after sockets and timers were served.
 *
 * Not `setImmediate`: Deno serves sockets between timers, but rarely between immediates. While two readers of `/metrics`
 * received 100,000 devices compressed, one after the other, `/healthz` took 14 ms at p50 and 76 ms at p99 with
 * immediates, and 0.7 ms and 21 ms with this (Deno 2.9.6).
 */
export async function nextTurn(): Promise<void> {
  await delay(0);
}
