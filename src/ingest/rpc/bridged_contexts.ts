/**
 * The contexts of telemetry calls on their way through grpc-js, which forwards no more of a call than its headers: one
 * of them names the context here. Calls arrive over this process's own bridge alone, and what a peer sends under that
 * name is removed, so it cannot name the context of another call.
 *
 * @module
 */
import type { HeaderField } from "../../http2/hpack/tables.ts";
import type { CallContext } from "../stream/call_context.ts";

/** Name of the metadata entry. */
export const CONTEXT_KEY = "tally-context";

/** Headers that are not forwarded: credentials are verified already. */
const REMOVED: ReadonlySet<string> = new Set([CONTEXT_KEY, "authorization"]);

/** Of one ingest process; one per call that grpc-js is about to serve. */
export class BridgedContexts {
  readonly #contexts = new Map<string, CallContext | Promise<CallContext>>();
  #last = 0;

  /** The headers to forward, and the function to call when the call has ended. `context` rejects if it is refused. */
  add(
    headers: readonly HeaderField[],
    context: CallContext | Promise<CallContext>,
  ): { readonly headers: readonly HeaderField[]; readonly remove: () => void } {
    const key = String(++this.#last);
    this.#contexts.set(key, context);
    if (context instanceof Promise) context.catch(() => {}); // The call may be over by then.
    return {
      headers: [...headers.filter(([name]) => !REMOVED.has(name)), [CONTEXT_KEY, key]],
      remove: () => this.#contexts.delete(key),
    };
  }

  /** The context that the value of {@linkcode CONTEXT_KEY} names. */
  async take(key: unknown): Promise<CallContext> {
    const context = this.#contexts.get(String(key));
    if (context === undefined) throw new Error(`Cannot serve a call over grpc-js: found no context ${key}`);
    return await context;
  }
}
