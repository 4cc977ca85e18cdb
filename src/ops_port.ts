/**
 * The ops port as the settings have it, and what each role adds to it.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import { type Config, configuredOpsPort } from "./config/config.ts";
import { apiMetrics, type ApiReport } from "./metrics/api_metrics.ts";
import { ingestMetrics, type InstanceReport } from "./metrics/ingest_metrics.ts";
import { formatTable } from "./metrics/metric_families.ts";
import type { RunningOps } from "./ops/ops_server.ts";
import type { StoreCalls } from "./ops/store_calls.ts";
import { isLoopback } from "./runtime/address.ts";
import type { DescriptorReserve } from "./runtime/descriptors.ts";
import type { Store } from "./store/store.ts";

/** An ingest in this process. */
export interface ObservedIngest {
  /** What it reports of itself. */
  readonly report: () => Omit<InstanceReport, "rate">;
  /** Why it should get no devices now; undefined: no reason. */
  readonly notReady: () => string | undefined;
}

/** An api in this process. */
export interface ObservedApi {
  /** What it reports of itself. */
  readonly report: () => ApiReport;
  /** Why it should get no readers now; undefined: no reason. Rejects as the store does. */
  readonly notReady: () => Promise<string | undefined>;
}

/** The ops port of a process, while its roles start and run. */
export class OpsPort {
  readonly #server: RunningOps;
  readonly #calls: StoreCalls;

  private constructor(server: RunningOps, calls: StoreCalls) {
    this.#server = server;
    this.#calls = calls;
    server.add({ metrics: () => calls.format(), notReady: () => Promise.resolve(undefined) });
  }

  /** Listens where the settings name a port; undefined where they do not. */
  static async start(
    config: Config,
    reserve: DescriptorReserve,
    log: Logger,
  ): Promise<OpsPort | undefined> {
    const port = configuredOpsPort(config);
    if (port === undefined) return undefined;
    // Loaded only where it is used: hono takes some memory.
    const [{ startOps }, { StoreCalls }] = await Promise.all([
      import("./ops/ops_server.ts"),
      import("./ops/store_calls.ts"),
    ]);
    const host = config.opsHost, allowedHosts = config.allowedHosts ?? [];
    const server = startOps({ host, port, allowedHosts, reserve, log: log.getChild("ops") });
    log.info("ops listening", { host: server.host, port: server.port });
    if (!isLoopback(host)) {
      log.warn("other machines may read the metrics of this process: the ops port has no authentication", {
        host,
      });
    }
    return new OpsPort(server, new StoreCalls(() => performance.now()));
  }

  /** The same store, of which the calls are measured. */
  measured(store: Store): Store {
    return this.#calls.measured(store);
  }

  /** Adds the ingest of this process. */
  addIngest({ report, notReady }: ObservedIngest): void {
    this.#server.add({
      metrics: () => formatTable("tally_ingest_", ingestMetrics, [["", { ...report(), rate: 0 }]]),
      notReady: () => Promise.resolve(notReady()),
    });
  }

  /** Adds the api of this process. */
  addApi({ report, notReady }: ObservedApi): void {
    this.#server.add({ metrics: () => formatTable("tally_api_", apiMetrics, [["", report()]]), notReady });
  }

  /** Adds the supervisor of workers, which is ready when the store answers: each worker has a port of its own. */
  addSupervisor(store: Store): void {
    this.#server.add({ metrics: () => [], notReady: () => store.ping().then(() => undefined) });
  }

  /** All roles run. */
  started(): void {
    this.#server.started();
  }

  /** See {@linkcode RunningOps}. */
  close(graceMs: number): Promise<void> {
    return this.#server.close(graceMs);
  }
}
