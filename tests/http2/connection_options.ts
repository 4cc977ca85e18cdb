/**
 * Options of a connection as a test wants them.
 *
 * @module
 */
import type { ConnectionOptions } from "../../src/http2/connection.ts";
import { Http2Counters } from "../../src/http2/counters.ts";
import { defaultLimits } from "../../src/http2/limits.ts";
import { TurnScheduler } from "../../src/http2/turn_scheduler.ts";

const now = () => performance.now();

/** The defaults; every call is bridged, and `inject` ignores the bridge. */
export function connectionOptions(options: Partial<ConnectionOptions> = {}): ConnectionOptions {
  return {
    route: (headers) => ({ bridge: headers, guard: { begin: () => undefined, complete() {}, close() {} } }),
    inject() {},
    limits: defaultLimits,
    counters: new Http2Counters(),
    turns: new TurnScheduler(now),
    now,
    ...options,
  };
}
