/**
 * The api role: store → fleet in memory → routes → HTTP server.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import { EventLog } from "../alerts/event_log.ts";
import { WATCH_INTERVAL_MS, watchForOffline } from "../alerts/offline_watch.ts";
import { deliverEvents, FIRST_RETRY_MS, MAX_RETRY_MS, WebhookCounters } from "../alerts/webhook.ts";
import { forgetUnseenDevices, SWEEP_STEP_MS } from "../fleet/device_retention.ts";
import { followAttributes } from "../fleet/attribute_tags.ts";
import { FleetCache, MAX_AGE_MS, WARM_FOR_MS } from "../fleet/fleet_cache.ts";
import { FleetValues } from "../fleet/fleet_values.ts";
import { ListCache } from "../fleet/list_cache.ts";
import { ObservedTime, TICK_INTERVAL_MS } from "../fleet/observed_time.ts";
import { TagReport } from "../fleet/tag_figures.ts";
import { Auditor } from "../identity/auditor.ts";
import { TokenLookup } from "../identity/token_lookup.ts";
import { RequestError } from "../protocol/request_error.ts";
import { Backoff } from "../runtime/backoff.ts";
import { type Clock, systemClock } from "../runtime/clock.ts";
import type { ApiReport } from "../metrics/api_metrics.ts";
import type { DescriptorReserve } from "../runtime/descriptors.ts";
import { formatAddress } from "../runtime/address.ts";
import { messageOf } from "../runtime/error_text.ts";
import { ProcessMonitor } from "../runtime/process_figures.ts";
import type { Store } from "../store/store.ts";
import { type StoreHealth, unmeasuredHealth } from "../store/store_clock.ts";
import { type TlsFiles, tlsMetrics } from "../tls/tls_files.ts";
import { type AlertOptions, createAlerting } from "./alerting.ts";
import { createApp } from "./app.ts";
import { servesConnections } from "../http/engine.ts";
import { AllowedHosts } from "../http/hosts.ts";
import { HttpServer } from "../http/http_server.ts";
import { PlainHttpServer } from "../http/plain_http_server.ts";
import { Downloads } from "./http/download.ts";
import { FailedAttempts } from "./http/failed_attempts.ts";
import { errorResponse } from "./http/problem.ts";
import {
  type Handler,
  HttpCounters,
  type HttpLimits,
  type HttpServerOptions,
  type ReaderServer,
} from "../http/reader_server.ts";
import { SseBroadcaster } from "./http/sse_broadcaster.ts";
import { EventStream } from "./responses/event_stream.ts";
import { FleetReporter } from "./responses/fleet_reporter.ts";
import { LiveUpdates } from "./responses/live_updates.ts";
import { Snapshots } from "./responses/metrics_snapshot.ts";

/** 40 MB, a million devices' counts, at 5 Mbit/s. */
export const READ_TIMEOUT_MS = 60_000;

/** What the api uses of the store. */
export type ApiStore = Omit<
  Store,
  | ("status" | "trimFleetHistory" | "claimSession" | "apply" | "reportInstance" | "removeInstance" | "close")
  | "importEvents"
>;

/** What the api needs. */
export interface ApiOptions extends Omit<HttpLimits, "responseTimeoutMs">, AlertOptions {
  /** Address to bind, for example `127.0.0.1`. */
  readonly host: string;
  /** TCP port; 0 takes a free one. */
  readonly port: number;
  /** `token`: readers need a token, see `http/access.ts`; default `none`. */
  readonly apiAuth?: "none" | "token";
  /** Whether clients of other machines may do everything, as is to be reported; default false. */
  readonly anonymousAccess?: boolean;
  /** Origins of web pages that may read responses; default none. */
  readonly corsOrigins?: readonly string[] | undefined;
  /** Host names readers may use besides those of {@linkcode AllowedHosts}; default none. */
  readonly allowedHosts?: readonly string[] | undefined;
  /** Remains the caller's to close, after the api. */
  readonly store: ApiStore;
  /** A device that sends nothing for longer is offline. */
  readonly offlineAfterMs: number;
  /** Devices with series of their own in the Prometheus form of `/metrics`, at most. */
  readonly prometheusMaxDevices: number;
  /** Attributes that are tags of their devices; default none. */
  readonly tagsFrom?: readonly string[] | undefined;
  /** Keys of tags that the Prometheus form shows; default none. */
  readonly prometheusTags?: readonly string[] | undefined;
  /** Streams of `/live` and `/events`, at most. */
  readonly liveMaxClients: number;
  /** TLS of the port; default: plain text. */
  readonly tls?: TlsFiles | undefined;
  /** File descriptors that connections leave to the rest of the process; default: none. */
  readonly reserve?: DescriptorReserve;
  /** Why this process should get no traffic, besides what the api checks itself; default: no reason. */
  readonly notReady?: () => string | undefined;
  /** Log lines that this process has dropped so far; default: none. */
  readonly logLinesDropped?: () => number;
  /** Receives a line when reading the store begins to fail or succeeds again, and unexpected errors. */
  readonly log: Logger;
  /** Has the time that stamps packets; default {@linkcode systemClock}. */
  readonly clock?: Clock;
  /** What to report of the store and the machine's clock; default nothing. */
  readonly storeHealth?: () => StoreHealth;
  /** Devices go offline only while an ingest reports, also before the first one was seen; default false. */
  readonly ingestRequired?: boolean;
  /** Greatest age of the devices in a response; default {@linkcode MAX_AGE_MS}. */
  readonly maxAgeMs?: number;
  /** How long after a request the devices are kept fresh for the next one; default {@linkcode WARM_FOR_MS}. */
  readonly warmForMs?: number;
  /** A body that a client has not read after this time is cut off; default {@linkcode READ_TIMEOUT_MS}. */
  readonly readTimeoutMs?: number;
  /** A device that sends nothing for longer is forgotten; default never. */
  readonly deviceTtlMs?: number | undefined;
  /** How often some of them are; default {@linkcode SWEEP_STEP_MS}. */
  readonly sweepStepMs?: number;
  /** How often offline devices, and new events, are searched for; default {@linkcode WATCH_INTERVAL_MS}. */
  readonly watchIntervalMs?: number;
  /** An idle stream sends a comment this often; default 15 s. */
  readonly heartbeatMs?: number;
  /** A client that reads nothing of a stream for so long is cut off; default 10 s. */
  readonly slowClientMs?: number;
}

/** An api that listens. */
export interface RunningApi {
  /** The address it is bound to. */
  readonly host: string;
  /** The port it is bound to. */
  readonly port: number;
  /** What it reports of itself. */
  readonly report: () => ApiReport;
  /** Why `/readyz` responds with 503; undefined: it responds with 200. Rejects as the store does. */
  readonly notReady: () => Promise<string | undefined>;
  /**
   * Responds to new requests with 503, lets those in progress finish for at most `graceMs`, then closes every
   * connection. Resolves within `graceMs`, give or take a turn of the event loop, when the port is free.
   */
  close(graceMs: number): Promise<void>;
}

/** Starts the api; rejects if the address cannot be bound. It need not reach the store to start. */
export function startApi(options: ApiOptions): Promise<RunningApi> {
  return Promise.try(start, options);
}

function start(options: ApiOptions): RunningApi {
  const settings = withDefaults(options);
  const process = new ProcessMonitor(systemClock);
  const counters = new HttpCounters();
  let port = options.port;
  const ownUrl = () => `http${options.tls === undefined ? "" : "s"}://${formatAddress(options.host, port)}`;
  const state = createState(settings, counters, process, ownUrl);
  const app = createApp({
    ...settings,
    ...state,
    isSecure: options.tls !== undefined,
    allowedHosts: new AllowedHosts(options.host, options.allowedHosts ?? []),
  });
  let closing = false;
  const handler: Handler = (request, connection) =>
    closing
      ? lastResponse(request, new RequestError("UNAVAILABLE", "the api is shutting down: try again"))
      : app.fetch(request, connection);
  let server: ReaderServer;
  try {
    server = serve({ ...options, responseTimeoutMs: settings.readTimeoutMs }, counters, handler);
  } catch (error) {
    process.close();
    throw error;
  }
  ({ port } = server.address);
  const background = startBackground(settings, state);

  return {
    host: server.address.hostname,
    port: server.address.port,
    report: state.apiReport,
    async notReady() {
      await Promise.all([options.store.ping(), state.fleet.loaded()]);
      return closing ? "the api is shutting down" : settings.notReady();
    },
    async close(graceMs) {
      closing = true;
      // Streams have no end of their own that could be awaited.
      state.broadcaster.close();
      state.live.close();
      state.eventStream.close();
      process.close();
      background.abort();
      const deadline = Promise.withResolvers<void>();
      const timer = setTimeout(deadline.resolve, graceMs);
      await Promise.race([server.idle(), deadline.promise]);
      await server.close(deadline.promise);
      await Promise.race([Promise.all([background.ended, state.fleet.close()]), deadline.promise]);
      clearTimeout(timer);
    },
  };
}

function withDefaults(options: ApiOptions) {
  return {
    ...options,
    clock: options.clock ?? systemClock,
    maxAgeMs: options.maxAgeMs ?? MAX_AGE_MS,
    apiAuth: options.apiAuth ?? "none",
    anonymousAccess: options.anonymousAccess ?? false,
    corsOrigins: options.corsOrigins ?? [],
    warmForMs: options.warmForMs ?? WARM_FOR_MS,
    watchIntervalMs: options.watchIntervalMs ?? WATCH_INTERVAL_MS,
    readTimeoutMs: options.readTimeoutMs ?? READ_TIMEOUT_MS,
    ingestRequired: options.ingestRequired ?? false,
    notReady: options.notReady ?? (() => undefined),
    logLinesDropped: options.logLinesDropped ?? (() => 0),
    storeHealth: options.storeHealth ?? (() => unmeasuredHealth),
  };
}

type Settings = ReturnType<typeof withDefaults>;

/** What the api holds in memory for all requests. */
function createState(
  settings: Settings,
  counters: HttpCounters,
  process: ProcessMonitor,
  ownUrl: () => string,
) {
  const { store, clock, maxConnections, logLinesDropped, anonymousAccess, log } = settings;
  const startedMs = clock.unixMs();
  const observedTime = new ObservedTime(settings);
  const fleet = new FleetCache({ ...settings, observedTime });
  const tagReport = new TagReport(fleet.index, fleet.labels, clock);
  const values = new FleetValues({ store, index: fleet.index, clock });
  const eventLog = new EventLog(store);
  const access = createAccess(settings);
  const { authFailures } = access;
  const apiReport = (): ApiReport => ({
    ...counters,
    ...tlsMetrics(settings.tls),
    ...{ authFailures, anonymousAccess, maxConnections, logLinesDropped: logLinesDropped() },
  });
  const webhookCounters = settings.webhook && new WebhookCounters();
  const reporter = new FleetReporter({ ...settings, fleet, eventLog, apiReport, webhookCounters });
  const broadcaster = new SseBroadcaster({ ...settings, maxClients: settings.liveMaxClients });
  return {
    ...access,
    ...createAlerting(settings, {
      ...{ ...settings, fleet, values, observedTime, ownUrl, log: log.getChild("alerts") },
    }),
    ...{ observedTime, fleet, values },
    eventLog,
    apiReport,
    webhookCounters,
    reporter,
    broadcaster,
    live: new LiveUpdates({ fleet, values, reporter, store, broadcaster, clock }),
    downloads: new Downloads(),
    eventStream: new EventStream(eventLog, fleet, broadcaster, settings.watchIntervalMs),
    lists: new ListCache(fleet.index, fleet.labels, clock, values),
    tagReport,
    snapshots: new Snapshots({
      ...settings,
      ...{ fleet, values, tagReport },
      process: () => ({ ...process.figures, startedMs }),
      apiReport,
    }),
  };
}

/** Who may do what, and what is counted and recorded of it. */
function createAccess({ apiAuth, store, clock, log }: Settings) {
  const now = () => clock.unixMs();
  const monotonicMs = () => clock.monotonicMs();
  return {
    tokens: apiAuth === "none" ? undefined : new TokenLookup(store, now),
    attempts: new FailedAttempts(monotonicMs),
    authFailures: { missing: 0, malformed: 0, unknown: 0, scope: 0, slowed: 0 },
    auditor: new Auditor({ store, now, log: log.getChild("audit") }),
    monotonicMs,
  };
}

/** Watches for offline devices, delivers their events, and notices revoked tokens, until `abort`; `ended`: all of that has ended. */
function startBackground(settings: Settings, state: ReturnType<typeof createState>) {
  const { webhook, webhookRetryMs = FIRST_RETRY_MS } = settings;
  const { observedTime, fleet, webhookCounters, tokens, auditor } = state;
  const aborting = new AbortController();
  const { signal } = aborting;
  const ticking = setInterval(() => observedTime.tick(), TICK_INTERVAL_MS);
  const stopTokens = tokens?.start();
  const polled = Promise.withResolvers<void>();
  const watched = watchForOffline({ ...settings, fleet, observedTime, signal });
  const alerted = state.watchAlerts(signal);
  const { deviceTtlMs, store, clock, log, sweepStepMs = SWEEP_STEP_MS } = settings;
  const forgotten = deviceTtlMs === undefined ? undefined : forgetUnseenDevices({
    ...{ fleet, store, clock, deviceTtlMs, sweepStepMs, log, signal },
    onForgotten: (devices) =>
      auditor.record("retention", "device.expire", [{
        target: `${devices} devices`,
        detail: `not seen for ${deviceTtlMs / 3_600_000} h (TALLY_DEVICE_TTL)`,
      }]),
  });
  const tagged = settings.tagsFrom &&
    followAttributes({ fleet, values: state.values, keys: settings.tagsFrom, log, signal });
  const delivered = webhook && webhookCounters && deliverEvents({
    ...settings,
    ...webhook,
    fleet,
    backoff: new Backoff({ firstMs: webhookRetryMs, maxMs: MAX_RETRY_MS }),
    counters: webhookCounters,
    signal,
  });
  return {
    ended: Promise.all([watched, alerted, tagged, forgotten, delivered, polled.promise]),
    abort() {
      polled.resolve(stopTokens?.());
      aborting.abort();
      clearInterval(ticking);
    },
  };
}

/** Throws if the address cannot be bound. */
function serve(
  options: Omit<HttpServerOptions, "onError">,
  counters: HttpCounters,
  handler: Handler,
): ReaderServer {
  const { host, port, log } = options;
  // Hono responds to errors in the routes; this is for errors around it.
  const onError = (error: unknown) => {
    log.error("Answering an HTTP request failed", { error });
    return lastResponse(undefined, error);
  };
  try {
    const all = { ...options, onError };
    return servesConnections ? new HttpServer(all, counters, handler) : new PlainHttpServer(all, handler);
  } catch (cause) {
    throw new Error(
      `cannot serve HTTP on ${host} port ${port}: ${messageOf(cause)}; choose another address or port`,
      { cause },
    );
  }
}

/** The connection is closed after it. */
function lastResponse(request: Request | undefined, error: unknown): Response {
  const response = errorResponse(request, error);
  response.headers.set("connection", "close");
  return response;
}
