/**
 * How a user or a supervisor ends a program: SIGINT (Ctrl-C), SIGTERM, or SIGHUP (its terminal was closed).
 *
 * @module
 */

/**
 * A Ctrl-C can arrive twice: the terminal signals every process in the foreground, and `deno task`
 * passes on the one it got. People are slower than this.
 */
const SAME_SIGNAL_MS = 250;

/** Resolves with the first SIGINT, SIGTERM or SIGHUP; the second one ends the process at once. */
export function stopSignal(): Promise<Deno.Signal> {
  const { promise, resolve } = Promise.withResolvers<Deno.Signal>();
  const exitCodes = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;
  let firstAtMs: number | undefined;
  for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => {
      firstAtMs ??= performance.now();
      if (performance.now() - firstAtMs > SAME_SIGNAL_MS) Deno.exit(exitCodes[signal]);
      resolve(signal);
    });
  }
  return promise;
}
