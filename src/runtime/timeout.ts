/**
 * Waiting for work no longer than a given time.
 *
 * @module
 */

/**
 * Resolves or rejects as `work` does; if that takes longer than `timeoutMs`, with what `onTimeout` returns or
 * throws. The work itself is not cancelled, and what it resolves to later is discarded.
 */
export async function withTimeout<Result, Late>(
  timeoutMs: number,
  work: Promise<Result>,
  onTimeout: () => Late,
): Promise<Result | Late> {
  const late = Promise.withResolvers<typeof timedOut>();
  const timer = setTimeout(() => late.resolve(timedOut), timeoutMs);
  try {
    const result = await Promise.race([work, late.promise]);
    return result === timedOut ? onTimeout() : result;
  } finally {
    clearTimeout(timer);
  }
}

const timedOut = Symbol("timed out");
