/**
 * A store whose writes wait, or fail, on command; all other methods are the real store's. A real one does neither at
 * the moment a test needs it.
 *
 * @module
 */
import type { Store } from "../../src/store/store.ts";
import { StoreError } from "../../src/store/store_error.ts";

/** Controls a {@linkcode gated} store; open again when it goes out of scope. */
export interface Gate extends Disposable {
  /** Batches received, and batches applied. */
  readonly arrived: number;
  readonly passed: number;
  /** From now on batches wait. */
  hold(): void;
  /** Applies one batch: the one that waits, or the next one. */
  passOne(): void;
  /** From now on batches are refused; the store itself still answers. */
  refuse(): void;
  /** Applies all batches from now on. */
  open(): void;
}

/** `store` with a gate, which is open at first. */
export function gated(store: Store): { store: Store; gate: Gate } {
  let state: "open" | "held" | "refusing" = "open";
  let arrived = 0, passed = 0, tickets = 0;
  let waiting: (() => void) | undefined;
  const wake = () => waiting?.();
  const open = () => {
    state = "open";
    wake();
  };

  const apply: Store["apply"] = async (batch) => {
    arrived++;
    while (state === "held" && tickets === 0) {
      await new Promise<void>((resolve) => waiting = resolve);
      waiting = undefined;
    }
    if (state === "refusing") throw new StoreError("could not apply a batch: the test refuses it");
    if (state === "held") tickets--;
    const fenced = await store.apply(batch);
    passed++;
    return fenced;
  };

  return {
    store: new Proxy(store, {
      get(target, name) {
        if (name === "apply") return apply;
        const value = Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      },
    }),
    gate: {
      get arrived() {
        return arrived;
      },
      get passed() {
        return passed;
      },
      hold() {
        state = "held";
      },
      passOne() {
        tickets++;
        wake();
      },
      refuse() {
        state = "refusing";
        wake();
      },
      open,
      [Symbol.dispose]: open,
    },
  };
}
