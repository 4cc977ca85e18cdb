/**
 * The error for parameters that a schema does not allow.
 *
 * @module
 */
import type { z } from "@hono/zod-openapi";

import { RequestError } from "../../protocol/request_error.ts";

/** `given`: the parameters; `issues`: what their schema found. */
export function parameterError(given: unknown, issues: readonly z.core.$ZodIssue[]): RequestError {
  const problems = issues.map((issue) => {
    if (issue.code === "unrecognized_keys") {
      const names = issue.keys.map(shown).join(", ");
      return `Cannot use the parameter ${names}: found no such parameter here; ${issue.message}`;
    }
    const name = issue.path.length === 0 ? "the body" : `the parameter ${issue.path.join(".")}`;
    const value = issue.path.reduce<unknown>(
      (value, key) => (value as Record<PropertyKey, unknown>)?.[key],
      given,
    );
    const found = value === undefined
      ? "nothing"
      : Array.isArray(value)
      ? `${value.length} values`
      : shown(value);
    return `Cannot use ${name}: found ${found}; ${issue.message}`;
  });
  return new RequestError("INVALID_ARGUMENT", problems.join("; "));
}

/** Throws {@linkcode RequestError} for a range of times that ends before it begins. */
export function assertOrdered(
  { from, to }: { readonly from?: number | undefined; readonly to?: number | undefined },
): void {
  if (from === undefined || to === undefined || from <= to) return;
  throw new RequestError(
    "INVALID_ARGUMENT",
    `Cannot use the parameters from and to: found ${from} and ${to}; expected from to be the earlier one`,
  );
}

/** As JSON, shortened to what fits a line. */
function shown(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length <= 80 ? text : `${text.slice(0, 80)}… of ${text.length} characters`;
}
