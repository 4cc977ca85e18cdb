/**
 * The ops port of a process: its metrics for Prometheus, and its health for an orchestrator such as Kubernetes.
 *
 * @module
 */
import { Hono } from "@hono/hono";
import type { Logger } from "@logtape/logtape";

import { AllowedHosts } from "../http/hosts.ts";
import { servesConnections } from "../http/engine.ts";
import { HttpServer } from "../http/http_server.ts";
import { PlainHttpServer } from "../http/plain_http_server.ts";
import { HttpCounters, type HttpServerOptions } from "../http/reader_server.ts";
import { formatProcessReport } from "../metrics/process_metrics.ts";
import { PROMETHEUS_CONTENT_TYPE } from "../metrics/prometheus_text.ts";
import { RequestError } from "../protocol/request_error.ts";
import { systemClock } from "../runtime/clock.ts";
import type { DescriptorReserve } from "../runtime/descriptors.ts";
import { messageOf } from "../runtime/error_text.ts";
import { ProcessMonitor } from "../runtime/process_figures.ts";

/** Scrapers and probes are few; a stranger takes no more of the process than these. */
const MAX_CONNECTIONS = 64;

/** A scrape is some 20 KB. */
const RESPONSE_TIMEOUT_MS = 10_000;

/** What the ops port needs. */
export interface OpsOptions {
  /** Address to bind. */
  readonly host: string;
  /** TCP port; 0 takes a free one. */
  readonly port: number;
  /** Host names in URLs of `/metrics`, besides those of {@linkcode AllowedHosts}. */
  readonly allowedHosts: readonly string[];
  /** File descriptors that connections leave to the rest of the process. */
  readonly reserve: DescriptorReserve;
  /** Receives a line when a limit is reached, and unexpected errors. */
  readonly log: Logger;
}

/** What a role adds to the ops port. */
export interface OpsSource {
  /** Families in Prometheus's text format; other sources have none of the same name. */
  readonly metrics: () => Iterable<string>;
  /** Why the process should get no traffic now; undefined: no reason. Rejects: it should not, for the error. */
  readonly notReady: () => Promise<string | undefined>;
}

/** A listening ops port. */
export interface RunningOps {
  /** Address bound. */
  readonly host: string;
  /** TCP port bound. */
  readonly port: number;
  /** Adds a source. */
  add(source: OpsSource): void;
  /** All sources are there: `/readyz` depends on them from now on. Before, the process is not ready. */
  started(): void;
  /** Stops listening; responses in progress have `graceMs`. */
  close(graceMs: number): Promise<void>;
}

/** Listens; throws if the address cannot be bound. */
export function startOps(options: OpsOptions): RunningOps {
  const sources: OpsSource[] = [];
  const startedMs = systemClock.unixMs();
  let starting = true;
  const monitor = new ProcessMonitor(systemClock);
  const app = createApp(options, {
    *metrics() {
      yield* formatProcessReport({ ...monitor.figures, startedMs });
      for (const source of sources) yield* source.metrics();
    },
    async notReady() {
      if (starting) return "starting";
      const reasons = await Promise.all(sources.map((source) => source.notReady().catch(messageOf)));
      return reasons.find((reason) => reason !== undefined);
    },
  });
  let server;
  try {
    server = listen(options, (request) => app.fetch(request));
  } catch (cause) {
    monitor.close();
    const { host, port } = options;
    const found = messageOf(cause);
    throw new Error(`cannot serve ops on ${host} port ${port}: ${found}; choose another TALLY_OPS_PORT`, {
      cause,
    });
  }
  return {
    host: server.address.hostname,
    port: server.address.port,
    add: (source) => void sources.push(source),
    started: () => void (starting = false),
    async close(graceMs) {
      monitor.close();
      const deadline = Promise.withResolvers<void>();
      const timer = setTimeout(deadline.resolve, graceMs);
      await Promise.race([server.idle(), deadline.promise]);
      await server.close(deadline.promise);
      clearTimeout(timer);
    },
  };
}

function createApp({ host, allowedHosts, log }: OpsOptions, source: OpsSource): Hono {
  const hosts = new AllowedHosts(host, allowedHosts);
  const app = new Hono();
  app.use(async (c, next) => {
    c.header("Cache-Control", "no-store");
    c.header("X-Content-Type-Options", "nosniff");
    await next();
  });
  app.get("/healthz", (c) => c.json({ status: "ok" }));
  app.get("/readyz", async (c) => {
    const reason = await source.notReady();
    return reason === undefined ? c.json({ status: "ok" }) : c.json({ status: "unavailable", reason }, 503);
  });
  app.get("/metrics", (c) => {
    hosts.check(c.req.header("Host") ?? "");
    return c.body([...source.metrics()].join(""), 200, { "Content-Type": PROMETHEUS_CONTENT_TYPE });
  });
  app.notFound((c) => c.text("Found nothing here; use /metrics, /healthz or /readyz.\n", 404));
  app.onError((error, c) => {
    if (error instanceof RequestError) return c.text(`${error.message}\n`, 403);
    log.error("Answering {path} on the ops port failed", { path: c.req.path, error });
    return c.text("Cannot answer: found an unexpected error; see the log.\n", 500);
  });
  return app;
}

function listen(options: OpsOptions, handler: (request: Request) => Response | Promise<Response>) {
  const { log } = options;
  const all: HttpServerOptions = {
    ...options,
    maxConnections: MAX_CONNECTIONS,
    maxConnectionsPerAddress: MAX_CONNECTIONS,
    responseTimeoutMs: RESPONSE_TIMEOUT_MS,
    onError(error) {
      log.error("Answering a request on the ops port failed", { error });
      return new Response(null, { status: 500 });
    },
  };
  return servesConnections
    ? new HttpServer(all, new HttpCounters(), handler)
    : new PlainHttpServer(all, handler);
}
