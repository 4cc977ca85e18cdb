/**
 * The part of `@std/assert` these tests use, with the same names and meaning, over `node:assert`.
 * It stands in where JSR cannot be reached; to use the original, map `@std/assert` to
 * `jsr:@std/assert` in `deno.json`.
 *
 * `message!`: node:assert takes undefined, but its types, in the version grpc-js brings along, do not.
 *
 * @module
 */
import nodeAssert from "node:assert/strict";

export { AssertionError } from "node:assert/strict";

/** `value` is truthy. */
export function assert(value: unknown, message = "expected a truthy value"): asserts value {
  nodeAssert.ok(value, message);
}

/** Deeply equal, types included. */
export function assertEquals<T>(actual: T, expected: T, message?: string): void {
  nodeAssert.deepStrictEqual(actual, expected, message!);
}

/** Not deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, message?: string): void {
  nodeAssert.notDeepStrictEqual(actual, expected, message!);
}

/** The same value (`Object.is`). */
export function assertStrictEquals<T>(actual: unknown, expected: T, message?: string): asserts actual is T {
  nodeAssert.strictEqual(actual, expected, message!);
}

/** Neither null nor undefined. */
export function assertExists<T>(actual: T, message = "expected a value"): asserts actual is NonNullable<T> {
  nodeAssert.ok(actual !== null && actual !== undefined, message);
}

/** `actual` contains `expected`. */
export function assertStringIncludes(actual: string, expected: string, message?: string): void {
  if (!actual.includes(expected)) {
    fail(message ?? `expected ${JSON.stringify(actual)} to include ${JSON.stringify(expected)}`);
  }
}

/** `actual` matches `expected`. */
export function assertMatch(actual: string, expected: RegExp, message?: string): void {
  nodeAssert.match(actual, expected, message!);
}

/** `actual` is an instance of `expected`. */
export function assertInstanceOf<T>(
  actual: unknown,
  expected: abstract new (...args: never[]) => T,
  message?: string,
): asserts actual is T {
  if (!(actual instanceof expected)) {
    fail(message ?? `expected an instance of ${expected.name}, got ${actual}`);
  }
}

/** `actual > expected`. */
export function assertGreater<T>(actual: T, expected: T, message?: string): void {
  if (!(actual > expected)) fail(message ?? `expected ${actual} > ${expected}`);
}

/** `actual >= expected`. */
export function assertGreaterOrEqual<T>(actual: T, expected: T, message?: string): void {
  if (!(actual >= expected)) fail(message ?? `expected ${actual} >= ${expected}`);
}

/** `actual < expected`. */
export function assertLess<T>(actual: T, expected: T, message?: string): void {
  if (!(actual < expected)) fail(message ?? `expected ${actual} < ${expected}`);
}

/** `actual <= expected`. */
export function assertLessOrEqual<T>(actual: T, expected: T, message?: string): void {
  if (!(actual <= expected)) fail(message ?? `expected ${actual} <= ${expected}`);
}

/** `body` throws; returns what it threw, checked against the class and the text when given. */
export function assertThrows<E extends Error = Error>(
  body: () => unknown,
  // deno-lint-ignore no-explicit-any -- a constructor of any arguments, as in @std/assert
  ErrorClass?: abstract new (...args: any[]) => E,
  messageIncludes?: string,
): E {
  try {
    body();
  } catch (error) {
    return checkedError(error, ErrorClass, messageIncludes);
  }
  fail("expected the function to throw");
}

/** The promise of `body` rejects; resolves to what it rejected with, checked as in {@linkcode assertThrows}. */
export async function assertRejects<E extends Error = Error>(
  body: () => PromiseLike<unknown>,
  // deno-lint-ignore no-explicit-any -- a constructor of any arguments, as in @std/assert
  ErrorClass?: abstract new (...args: any[]) => E,
  messageIncludes?: string,
): Promise<E> {
  try {
    await body();
  } catch (error) {
    return checkedError(error, ErrorClass, messageIncludes);
  }
  fail("expected the promise to reject");
}

/** Fails. */
export function fail(message = "failed"): never {
  throw new nodeAssert.AssertionError({ message });
}

function checkedError<E extends Error>(
  error: unknown,
  // deno-lint-ignore no-explicit-any -- as above
  ErrorClass: (abstract new (...args: any[]) => E) | undefined,
  messageIncludes: string | undefined,
): E {
  assertInstanceOf(error, Error);
  if (ErrorClass !== undefined) assertInstanceOf(error, ErrorClass);
  if (messageIncludes !== undefined) assertStringIncludes(error.message, messageIncludes);
  return error as E;
}

/** No further apart than `tolerance`. */
export function assertAlmostEquals(actual: number, expected: number, tolerance: number): void {
  nodeAssert.ok(
    Math.abs(actual - expected) <= tolerance,
    `${actual} is not within ${tolerance} of ${expected}`,
  );
}
