/**
 * Picks faults at random, and injects them.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import { type Random, seededRandom } from "../support/random.ts";
import type { Fault } from "./scene.ts";

/** From one fault to the next. */
const PAUSE_MS = { min: 200, max: 2600 };

/** The store is emptied in the first part of a run only: what is sent in the rest is there at the end, to be compared. */
const EMPTIES_STORE_UNTIL = 0.2;

/** What {@linkcode injectFaults} needs. */
export interface InjectionOptions {
  readonly random: Random;
  readonly durationMs: number;
  /** Ends the injection at once. */
  readonly signal: AbortSignal;
  /** Told of what must not happen. */
  readonly violated: (what: string) => void;
  /** Told now and then how far it is. */
  readonly progress: (text: string) => void;
}

/**
 * Injects one fault after the other for `durationMs`, not waiting for the one before to heal; then for all. Every
 * kind comes once before any comes again; those that empty the store come first, and not again later.
 */
export async function injectFaults(
  faults: readonly Fault[],
  { random, durationMs, signal, violated, progress }: InjectionOptions,
): Promise<Map<string, number>> {
  const injected = new Map(faults.map(({ name }) => [name, 0]));
  const underWay = new Set<Promise<void>>();
  const startedAt = performance.now();
  const elapsedMs = () => performance.now() - startedAt;
  const deck: Fault[] = [];
  for (let total = 0; elapsedMs() < durationMs;) {
    if (!await delay(random.int(PAUSE_MS.min, PAUSE_MS.max), true, { signal }).catch(() => false)) break;
    if (deck.length === 0) {
      const emptying = faults.filter(({ emptiesStore }) => emptiesStore);
      if (elapsedMs() < EMPTIES_STORE_UNTIL * durationMs) deck.push(...shuffled(emptying, random));
      deck.push(...shuffled(faults.filter(({ emptiesStore }) => !emptiesStore), random));
    }
    const fault = deck.shift();
    if (fault === undefined) continue;
    const fate = seededRandom(random.int(0, 2 ** 31));
    const healed = fault.inject(fate).then((done) => {
      if (done) injected.set(fault.name, injected.get(fault.name)! + 1);
    }, (error) => violated(`${fault.name}: ${error.stack}`)).finally(() => underWay.delete(healed));
    underWay.add(healed);
    if (++total % 10 === 0) progress(`${Math.round(elapsedMs() / 1000)} s, ${total} faults`);
  }
  await Promise.all(underWay);
  return injected;
}

function shuffled<T>(items: readonly T[], random: Random): T[] {
  const left = [...items];
  return items.map(() => left.splice(random.int(0, left.length - 1), 1)[0]!);
}
