/**
 * Calls of several shards at once.
 *
 * @module
 */
import { StoreError } from "../store_error.ts";

/**
 * Waits for all of them, also where one fails: none is still in flight when the caller tries again. Rejects with the
 * first error.
 */
export async function allSettled<T>(calls: readonly Promise<T>[]): Promise<T[]> {
  for (const result of await Promise.allSettled(calls)) if (result.status === "rejected") throw result.reason;
  return await Promise.all(calls);
}

/** What came of calls of some shards: those that fail are left out. Rejects if all do. */
export async function someOf<Call, T>(calls: readonly Call[], run: (call: Call) => Promise<T>): Promise<T[]> {
  const results = await Promise.allSettled(calls.map(run));
  const failed = results.filter((result) => result.status === "rejected").map(({ reason }) => reason);
  const unexpected = failed.find((error) => !(error instanceof StoreError));
  if (unexpected !== undefined) throw unexpected;
  if (failed.length > 0 && failed.length === calls.length) throw failed[0];
  return results.flatMap((result) => result.status === "fulfilled" ? [result.value] : []);
}
