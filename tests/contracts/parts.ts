/**
 * What the parts of the stores' contract share.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";

import type { Period } from "../../src/store/history.ts";
import type { Store } from "../../src/store/store.ts";
import { batch, delta, now } from "../support/batches.ts";

/** Registers a test that is given two stores on the same empty place. */
export type TestStores = (title: string, body: (store: Store, other: Store) => Promise<void>) => void;

/** Milliseconds. */
export const minute = 60_000, hour = 60 * minute;

/** The beginning of an hour. */
export const start = now - now % hour;

let producers = 0;

/** Applies a batch of a producer of its own, received at `atMs`. */
export async function send(
  store: Store,
  atMs: number,
  ...devices: [id: string, packets: number][]
): Promise<void> {
  const deltas = devices.map(([id, packets]) => delta(id, packets));
  const producer = `producer ${++producers}`;
  const sent = { ...batch(1, { devices: deltas }), producer, receivedAtMs: atMs };
  assertEquals(await store.apply(sent), []);
}

/** Times of a device that sends in 26 hours, and then in 62 minutes: more than is kept of either. */
export function everyHourThenEveryMinute(): number[] {
  const hours = Array.from({ length: 26 }, (_, i) => start + i * hour);
  return [...hours, ...Array.from({ length: 62 }, (_, i) => start + 26 * hour + i * minute)];
}

/** Packets of the newest period. */
export function newest(periods: readonly Period[]): number {
  const last = periods.at(-1);
  assert(last);
  return last.packets;
}

/** Packets of all periods. */
export function sum(periods: readonly Period[]): number {
  return periods.reduce((sum, { packets }) => sum + packets, 0);
}

/** Start and packets of the periods that have any. */
export function nonEmpty(periods: readonly Period[]): [startMs: number, packets: number][] {
  return periods.filter(({ packets }) => packets > 0).map(({ startMs, packets }) => [startMs, packets]);
}
