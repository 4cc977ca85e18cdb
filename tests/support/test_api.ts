/**
 * An api for tests.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { getLogger } from "@logtape/logtape";

import { type ApiOptions, type ApiStore, type RunningApi, startApi } from "../../src/api/api.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import type { Store } from "../../src/store/store.ts";
import { until } from "./until.ts";

/** Settings as in production, but a free port. */
export const apiDefaults = {
  host: "127.0.0.1",
  port: 0,
  offlineAfterMs: 60_000,
  prometheusMaxDevices: 10_000,
  liveMaxClients: 1_000,
  maxConnections: 2_000,
  maxConnectionsPerAddress: 1_500,
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
    url: `${options.tls ? "https" : "http"}://${api.host}:${api.port}`,
    async [Symbol.asyncDispose]() {
      await api.close(1_000);
    },
  };
}

/** Both clocks of an api, which the test moves. */
export class TestClock {
  /** Unix milliseconds: the middle of a minute. */
  unixMs = 1_700_000_010_500;
  /** The clocks, for the api's options. */
  readonly options = { clock: { unixMs: () => this.unixMs, monotonicMs: () => this.unixMs } };

  /** Lets time pass. */
  pass(ms: number): void {
    this.unixMs += ms;
  }
}

/** Both clocks of an api, which run, and can be moved ahead. */
export class RunningClock {
  #aheadMs = 0;
  /** The clocks, for the api's options. */
  readonly options = {
    clock: {
      unixMs: () => systemClock.unixMs() + this.#aheadMs,
      monotonicMs: () => systemClock.monotonicMs() + this.#aheadMs,
    },
  };

  /** Unix milliseconds. */
  get unixMs(): number {
    return this.options.clock.unixMs();
  }

  /** Lets time pass. */
  pass(ms: number): void {
    this.#aheadMs += ms;
  }
}

let sequence = 0;

/** Stores packets of each device, received at `receivedAtMs`. */
export async function addPackets(
  store: Store,
  packets: Readonly<Record<string, number>>,
  { receivedAtMs = Date.now(), payload = new TextEncoder().encode("payload") } = {},
): Promise<void> {
  const devices = Object.entries(packets).map(([deviceId, packets]) => ({
    deviceId,
    packets,
    timestampMs: receivedAtMs,
    payload,
  }));
  const batch = {
    producer: "test",
    sequence: ++sequence,
    previous: sequence - 1,
    receivedAtMs,
    devices,
    sessions: [],
  };
  assertEquals(await store.apply(batch), []);
}

/** Stores a packet of each device, and waits until its values are there. */
export async function measure(
  store: Store,
  measured: Readonly<Record<string, unknown>>,
  receivedAtMs = Date.now(),
): Promise<void> {
  for (const [deviceId, payload] of Object.entries(measured)) {
    const bytes = new TextEncoder().encode(JSON.stringify(payload));
    await addPackets(store, { [deviceId]: 1 }, { receivedAtMs, payload: bytes });
  }
  await until(async () => {
    await store.ping();
    return (await store.waitingSamples()).bytes === 0;
  }, "no sample waits");
}
