/**
 * The api with its page on a store, as operators have it, and devices that were just heard from.
 *
 * @module
 */
import { getLogger } from "@logtape/logtape";

import { type ApiOptions, startApi } from "../src/api/api.ts";
import type { DeviceDelta, Store } from "../src/store/store.ts";

/** A running api. */
export interface Monitor extends AsyncDisposable {
  /** Where its page is. */
  readonly url: string;
  /** To start another one in its place. */
  readonly port: number;
}

/** Starts the api on `store`. */
export async function startMonitor(store: Store, options: Partial<ApiOptions> = {}): Promise<Monitor> {
  const api = await startApi({
    host: "127.0.0.1",
    port: 0,
    store,
    offlineAfterMs: 60_000,
    prometheusMaxDevices: 10_000,
    liveMaxClients: 100,
    log: getLogger(["tally", "test"]),
    ...options,
  });
  return {
    url: `http://127.0.0.1:${api.port}/`,
    port: api.port,
    [Symbol.asyncDispose]: () => api.close(1_000),
  };
}

let sequence = 0;
const producer = crypto.randomUUID();

/** Stores packets as received now. */
export async function receive(store: Store, devices: readonly DeviceDelta[]): Promise<void> {
  await store.apply({
    producer,
    sequence: ++sequence,
    previous: sequence - 1,
    receivedAtMs: Date.now(),
    devices,
    sessions: [],
  });
}
