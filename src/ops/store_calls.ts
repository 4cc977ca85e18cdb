/**
 * How long the store's calls take, and how many fail, by the name of the method.
 *
 * @module
 */
import { DURATION_BOUNDS_MS, Histogram } from "../metrics/histogram.ts";
import { histogram, metric } from "../metrics/prometheus_text.ts";
import type { Store } from "../store/store.ts";

/** What is measured of one method. */
class Call {
  readonly durationMs = new Histogram(DURATION_BOUNDS_MS);
  errors = 0;
}

/** Of one process. */
export class StoreCalls {
  readonly #calls = new Map<string, Call>();

  /** `clock`: monotonic, milliseconds. */
  constructor(readonly clock: () => number) {}

  /** The same store, of which each call of a method that returns a promise is measured. */
  measured(store: Store): Store {
    const wrapped = new Map<PropertyKey, unknown>();
    return new Proxy(store, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== "function" || typeof name !== "string") return value;
        if (!wrapped.has(name)) wrapped.set(name, this.#wrap(name, value.bind(target)));
        return wrapped.get(name);
      },
    });
  }

  #wrap(name: string, method: (...args: unknown[]) => unknown) {
    return (...args: unknown[]) => {
      const startedAtMs = this.clock();
      const result = method(...args);
      if (!(result instanceof Promise)) return result;
      const call = this.#calls.get(name) ?? new Call();
      this.#calls.set(name, call);
      const done = () => call.durationMs.observe(this.clock() - startedAtMs);
      result.then(done, () => {
        call.errors++;
        done();
      });
      return result;
    };
  }

  /** Two families, with a sample for each method that was called. */
  *format(): Generator<string> {
    const calls = Array.from(this.#calls, ([name, call]) => [`call="${name}"`, call] as const);
    yield histogram(
      "tally_store_call_duration_seconds",
      "Time until the store answered a call, or failed to.",
      DURATION_BOUNDS_MS,
      1000,
      calls.map(([label, { durationMs }]) => [label, durationMs.report()] as const),
    );
    yield metric(
      "tally_store_call_errors_total",
      "counter",
      "Calls of the store that failed.",
      calls.map(([label, { errors }]) => [label, errors] as const),
    );
  }
}
