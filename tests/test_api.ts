/**
 * An api for tests.
 *
 * @module
 */
import { getLogger } from "@logtape/logtape";

import { type ApiOptions, type ApiStore, type RunningApi, startApi } from "../src/api/api.ts";

/** Settings as in production, but a free port. */
export const apiDefaults = {
  host: "127.0.0.1",
  port: 0,
  offlineAfterMs: 60_000,
  prometheusMaxDevices: 10_000,
  liveMaxClients: 1_000,
  log: getLogger(["tally", "test"]),
} as const satisfies Partial<ApiOptions>;

/** An api that closes when it goes out of scope. */
export interface TestApi extends RunningApi, AsyncDisposable {
  /** Where it is. */
  readonly url: string;
}

/** Starts an api on `store`. */
export async function startTestApi(store: ApiStore, options: Partial<ApiOptions> = {}): Promise<TestApi> {
  const api = await startApi({ ...apiDefaults, store, ...options });
  return {
    ...api,
    url: `http://${api.host}:${api.port}`,
    async [Symbol.asyncDispose]() {
      await api.close(1_000);
    },
  };
}
