/**
 * How long a device, or a group, has sent nothing.
 *
 * @module
 */
import type { RuleContext } from "./facts.ts";

/** Silence is looked at again after no less. */
const MIN_WAIT_MS = 1_000;

/** While not all of the store can be read. */
const PARTIAL_WAIT_MS = 5_000;

/**
 * Milliseconds after which nothing since `lastSeenMs` is a silence of `afterMs`, as far as can be seen now; 0: it is one.
 * Only observed time counts, and only packets that are counted are seen.
 */
export function silenceLeftMs(
  { moment, observedTime }: Pick<RuleContext, "moment" | "observedTime">,
  lastSeenMs: number,
  afterMs: number,
): number {
  const leftMs = lastSeenMs + afterMs + moment.countsLateMs - moment.unixMs;
  if (leftMs > 0) return leftMs;
  if (!moment.isWhole) return PARTIAL_WAIT_MS;
  const unobservedMs = afterMs - observedTime.observedSince(lastSeenMs, moment.unixMs);
  return unobservedMs > 0 ? Math.max(MIN_WAIT_MS, unobservedMs) : 0;
}
