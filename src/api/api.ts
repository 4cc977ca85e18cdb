/**
 * The api role: store → fleet in memory → routes → HTTP server.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import { Backoff } from "../runtime/backoff.ts";
import { messageOf } from "../runtime/error_text.ts";
import type { StoreHealth } from "../store/store_clock.ts";
import type { DescriptorReserve } from "../runtime/descriptors.ts";
import { RequestError } from "../protocol/request_error.ts";
import { ProcessMonitor } from "../runtime/process_figures.ts";
import type { Store } from "../store/store.ts";
import { createApp } from "./app.ts";
import { EventLog } from "../alerts/event_log.ts";
import { EventStreams } from "./http/event_streams.ts";
import { EventFeed, WATCH_INTERVAL_MS, watchForSilence } from "../alerts/offline_watch.ts";
import { Fleet, MAX_AGE_MS, WARM_FOR_MS } from "../fleet/fleet.ts";
import { FleetReporter } from "./responses/fleet_reporter.ts";
import { AllowedHosts } from "./http/hosts.ts";
import { httpStatus } from "./http/http_status.ts";
import { HttpServer, servesConnections } from "./http/http_server.ts";
import { Listening, TICK_INTERVAL_MS } from "../fleet/listening.ts";
import { Live } from "./routes/live.ts";
import { Orders } from "../fleet/listing.ts";
import { PlainHttpServer } from "./http/plain_http_server.ts";
import {
  type Handler,
  HttpCounters,
  type HttpLimits,
  type HttpServerOptions,
  type ReaderServer,
} from "./http/reader_server.ts";
import { Snapshots } from "./responses/metrics_snapshot.ts";
import {
  deliverEvents,
  FIRST_RETRY_MS,
  MAX_RETRY_MS,
  type Webhook,
  WebhookFigures,
} from "../alerts/webhook.ts";

/** 40 MB, a million devices' counts, at 5 Mbit/s. */
export const READ_TIMEOUT_MS = 60_000;

/** What the api asks of the store. */
export type ApiStore = Omit<
  Store,
  "status" | "trimFleetHistory" | "claimSession" | "apply" | "reportInstance" | "removeInstance" | "close"
>;

/** What the api needs. */
export interface ApiOptions extends Omit<HttpLimits, "answerTimeoutMs"> {
  /** Address to bind, for example `127.0.0.1`. */
  readonly host: string;
  /** TCP port; 0 takes a free one. */
  readonly port: number;
  /** Host names readers may use besides those of {@linkcode AllowedHosts}; default none. */
  readonly allowedHosts?: readonly string[] | undefined;
  /** Remains the caller's to close, after the api. */
  readonly store: ApiStore;
  /** A device silent for longer is offline. */
  readonly offlineAfterMs: number;
  /** Devices with series of their own in the Prometheus form of `/metrics`, at most. */
  readonly prometheusMaxDevices: number;
  /** Streams of `/live` and `/events`, at most. */
  readonly liveMaxClients: number;
  /** File descriptors that connections leave to the rest of the process; default: none. */
  readonly reserve?: DescriptorReserve;
  /** Why this process should be given no traffic, besides what the api itself knows; default: nothing. */
  readonly notReady?: () => string | undefined;
  /** Log lines that this process has dropped so far; default: none. */
  readonly logLinesDropped?: () => number;
  /** Told of devices that fall silent or come back; undefined: nobody is. */
  readonly webhook?: Webhook | undefined;
  /** Told when reading the store begins to fail or succeeds again, and of errors nobody foresaw. */
  readonly log: Logger;
  /** Milliseconds on a clock that never goes back; default `performance.now`. */
  readonly now?: () => number;
  /** Unix milliseconds, on the clock that stamps packets; default `Date.now`. */
  readonly unixNow?: () => number;
  /** What to report of the store and the machine's clock; default nothing. */
  readonly storeHealth?: () => StoreHealth;
  /** Devices fall silent only while an ingest reports, also before the first one was seen; default false. */
  readonly ingestRequired?: boolean;
  /** How old the devices may be that a reader gets; default {@linkcode MAX_AGE_MS}. */
  readonly maxAgeMs?: number;
  /** How long after a reader the devices are kept fresh for the next one; default {@linkcode WARM_FOR_MS}. */
  readonly warmForMs?: number;
  /** A reader that takes longer than this for one body is cut off; default {@linkcode READ_TIMEOUT_MS}. */
  readonly readTimeoutMs?: number;
  /** Silent devices, and new events, are looked for this often; default {@linkcode WATCH_INTERVAL_MS}. */
  readonly watchIntervalMs?: number;
  /** Wait after a first failure of the webhook; default {@linkcode FIRST_RETRY_MS}. */
  readonly webhookRetryMs?: number;
  /** A stream that has nothing to say sends a comment this often; default 15 s. */
  readonly heartbeatMs?: number;
  /** A reader of a stream that takes nothing for so long is cut off; default 10 s. */
  readonly slowClientMs?: number;
}

/** An api that listens. */
export interface RunningApi {
  /** The address it is bound to. */
  readonly host: string;
  /** The port it is bound to. */
  readonly port: number;
  /**
   * Answers new requests with 503, lets those under way finish for at most `graceMs`, then closes every
   * connection. Resolves within `graceMs`, give or take a turn of the event loop, when the port is free.
   */
  close(graceMs: number): Promise<void>;
}

/** Starts the api; rejects if the address cannot be bound. It need not reach the store to start. */
export function startApi(options: ApiOptions): Promise<RunningApi> {
  return Promise.try(start, options);
}

function start(options: ApiOptions): RunningApi {
  const { store, log, offlineAfterMs, prometheusMaxDevices, liveMaxClients } = options;
  const { now = () => performance.now(), unixNow = Date.now } = options;
  const { maxAgeMs = MAX_AGE_MS, warmForMs = WARM_FOR_MS, watchIntervalMs = WATCH_INTERVAL_MS } = options;
  const { readTimeoutMs = READ_TIMEOUT_MS } = options;
  const { storeHealth = () => ({ clockAheadMs: 0, evictionPolicy: undefined }) } = options;
  const listening = new Listening({
    offlineAfterMs,
    now,
    unixNow,
    ingestRequired: options.ingestRequired ?? false,
  });
  const fleet = new Fleet({ store, now, unixNow, maxAgeMs, warmForMs, offlineAfterMs, listening, log });
  const eventLog = new EventLog(store);
  const counters = new HttpCounters();
  const { maxConnections, notReady = () => undefined, logLinesDropped = () => 0 } = options;
  const ownFigures = () => ({ ...counters, maxConnections, logLinesDropped: logLinesDropped() });
  const webhook = options.webhook && new WebhookFigures();
  const figures = new FleetReporter({
    fleet,
    store,
    storeHealth,
    eventLog,
    ownFigures,
    webhook,
    now,
    unixNow,
    offlineAfterMs,
  });
  const streams = new EventStreams({ ...options, maxClients: liveMaxClients });
  const live = new Live({ fleet, figures, store, streams, now, unixNow });
  const eventFeed = new EventFeed(eventLog, streams, watchIntervalMs);
  const startedMs = unixNow();
  const process = new ProcessMonitor(() => performance.now());
  const app = createApp({
    store,
    fleet,
    figures,
    live,
    eventLog,
    eventFeed,
    orders: new Orders(fleet.index, now, unixNow),
    snapshots: new Snapshots({
      fleet,
      store,
      storeHealth,
      now,
      unixNow,
      prometheusMaxDevices,
      process: () => ({ ...process.figures, startedMs }),
      ownFigures,
    }),
    unixNow,
    log,
    notReady,
    allowedHosts: new AllowedHosts(options.host, options.allowedHosts ?? []),
    readTimeoutMs,
  });

  let closing = false;
  const handler: Handler = (request, connection) =>
    closing
      ? answerError(new RequestError("UNAVAILABLE", "the api is shutting down: try again"))
      : app.fetch(request, connection);
  const server = (() => {
    try {
      return serve({ ...options, answerTimeoutMs: readTimeoutMs }, counters, handler);
    } catch (error) {
      process.close();
      throw error;
    }
  })();

  const watching = new AbortController();
  const { signal } = watching;
  const ticking = setInterval(() => listening.tick(), TICK_INTERVAL_MS);
  const watched = watchForSilence({
    fleet,
    store,
    listening,
    unixNow,
    offlineAfterMs,
    watchIntervalMs,
    log,
    signal,
  });
  const backoff = new Backoff({ firstMs: options.webhookRetryMs ?? FIRST_RETRY_MS, maxMs: MAX_RETRY_MS });
  const delivered = options.webhook && webhook && deliverEvents({
    ...options.webhook,
    ...{ store, now, unixNow, watchIntervalMs, backoff, figures: webhook, log, signal },
  });

  return {
    host: server.address.hostname,
    port: server.address.port,
    async close(graceMs) {
      closing = true;
      // Streams have no end of their own that could be waited for.
      streams.close();
      live.close();
      eventFeed.close();
      watching.abort();
      process.close();
      clearInterval(ticking);
      const deadline = Promise.withResolvers<void>();
      const timer = setTimeout(deadline.resolve, graceMs);
      await Promise.race([server.idle(), deadline.promise]);
      await server.close(deadline.promise);
      await Promise.race([Promise.all([watched, delivered, fleet.close()]), deadline.promise]);
      clearTimeout(timer);
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
  // Hono answers for the routes' failures; this is for what fails around it.
  const onError = (error: unknown) => {
    log.error("Answering an HTTP request failed", { error });
    return answerError(error);
  };
  try {
    const all = { ...options, onError };
    return servesConnections ? new HttpServer(all, counters, handler) : new PlainHttpServer(all, handler);
  } catch (cause) {
    const reason = messageOf(cause);
    throw new Error(`cannot serve HTTP on ${host} port ${port}: ${reason}; choose another address or port`, {
      cause,
    });
  }
}

function answerError(error: unknown): Response {
  const { status, message } = httpStatus(error);
  return Response.json({ error: message }, { status, headers: { connection: "close" } });
}
