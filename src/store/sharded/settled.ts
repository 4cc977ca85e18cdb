/**
 * Calls of several shards at once.
 *
 * @module
 */

/**
 * Waits for all of them, also where one fails: none is still in flight when the caller tries again. Rejects with the
 * first error.
 */
export async function allSettled<T>(calls: readonly Promise<T>[]): Promise<T[]> {
  for (const result of await Promise.allSettled(calls)) if (result.status === "rejected") throw result.reason;
  return await Promise.all(calls);
}
