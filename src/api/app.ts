/**
 * The api's routes. Every answer that is not 2xx or 304 is JSON: `{"error": "…"}`.
 *
 * @module
 */
import type { Context, Next } from "@hono/hono";
import { secureHeaders } from "@hono/hono/secure-headers";
import { createRoute, OpenAPIHono, z } from "@hono/zod-openapi";
import type { Logger } from "@logtape/logtape";

import { RequestError } from "../protocol/request_error.ts";
import { withTimeout } from "../runtime/timeout.ts";
import type { Store } from "../store/store.ts";
import { StoreError } from "../store/store_error.ts";
import { answerError } from "./http/answers.ts";
import { addDeviceRoutes, type DeviceRoutesOptions } from "./routes/devices.ts";
import { addDocs } from "./routes/docs.ts";
import type { AllowedHosts } from "./http/hosts.ts";
import { chooseEncoding, chooseForm, matchesEtag } from "./http/negotiate.ts";
import { addPage } from "./routes/page.ts";
import { NoParameters, parameterError } from "./http/parameters.ts";
import { PROMETHEUS_CONTENT_TYPE } from "./responses/prometheus.ts";
import { Health } from "./schemas/health.ts";
import { Counts } from "./schemas/metrics.ts";
import { Problem } from "./schemas/problem.ts";
import type { Snapshot, SnapshotBody, Snapshots } from "./responses/metrics_snapshot.ts";

/** What the routes need. */
export interface AppOptions extends DeviceRoutesOptions {
  /** Asked by `/readyz`, as the fleet is, and as {@linkcode DeviceRoutesOptions} says. */
  readonly store: DeviceRoutesOptions["store"] & Pick<Store, "ping">;
  /** Why `/readyz` should answer 503 besides the store and the fleet; undefined: for no reason. */
  readonly notReady: () => string | undefined;
  /** Served by `/metrics`. */
  readonly snapshots: Snapshots;
  /** Names the api answers under. */
  readonly allowedHosts: AllowedHosts;
  /** Told of errors nobody foresaw. */
  readonly log: Logger;
  /** A reader that takes longer than this for one body is cut off: it keeps an old snapshot in memory. */
  readonly readTimeoutMs: number;
}

const unavailable = {
  description: "The store is unreachable: try again",
  content: { "application/json": { schema: Problem } },
};
const invalid = {
  description: "A parameter is not allowed",
  content: { "application/json": { schema: Problem } },
};
const healthy = { description: "Yes", content: { "application/json": { schema: Health } } };

const metricsRoute = createRoute({
  method: "get",
  path: "/metrics",
  operationId: "getMetrics",
  tags: ["Fleet"],
  summary: "Every device's count, as JSON or for Prometheus",
  description: "Prometheus' text format where `Accept` asks for `text/plain` rather than JSON. " +
    "The header `Tally-Snapshot-Age-Ms` says how old the counts are: 250 ms at most when the request came. " +
    "While the store cannot be read, JSON gets 503, and Prometheus 200 with `tally_store_up 0` and what the " +
    "figures of the api's own process: none that come from the store.",
  request: { query: NoParameters },
  responses: {
    200: {
      description: "The counts",
      content: { "application/json": { schema: Counts }, "text/plain": { schema: z.string() } },
    },
    304: { description: "They are those of `If-None-Match`" },
    400: invalid,
    503: unavailable,
  },
});

const healthRoute = createRoute({
  method: "get",
  path: "/healthz",
  operationId: "getHealth",
  tags: ["Health"],
  summary: "Does the process live?",
  request: { query: NoParameters },
  responses: { 200: healthy, 400: invalid },
});

const readinessRoute = createRoute({
  method: "get",
  path: "/readyz",
  operationId: "getReadiness",
  tags: ["Health"],
  summary: "Does the store answer, and have the devices been read?",
  description:
    "After the api's start the answer comes when all devices have been read: then no request has to " +
    "wait for that.",
  request: { query: NoParameters },
  responses: { 200: healthy, 400: invalid, 503: unavailable },
});

/** The api as a Hono app; `app.fetch` answers requests. */
export function createApp(options: AppOptions): OpenAPIHono {
  const { store, fleet, snapshots, log, notReady, readTimeoutMs, allowedHosts } = options;
  const app = new OpenAPIHono({
    defaultHook(result, c) {
      // Beside the result is what was given; the type does not have it.
      const { data } = result as { data?: unknown };
      if (!result.success) return answerError(c, parameterError(data, result.error.issues));
    },
  });

  app.use(secureHeaders({
    // Pages load from here only, and run nothing that stands in them.
    contentSecurityPolicy: {
      defaultSrc: ["'none'"],
      scriptSrc: ["'self'"],
      styleSrc: ["'self'"],
      imgSrc: ["'self'", "data:"],
      connectSrc: ["'self'"],
      baseUri: ["'none'"],
      formAction: ["'none'"],
      frameAncestors: ["'none'"],
    },
    xFrameOptions: "DENY",
    // Whether there is TLS in front is not ours to say.
    strictTransportSecurity: false,
    // For browsers long gone; each header costs every answer some microseconds.
    xDnsPrefetchControl: false,
    xDownloadOptions: false,
    xPermittedCrossDomainPolicies: false,
    xXssProtection: false,
  }));

  app.use(measureHead);

  app.use((c, next) => {
    // Load balancers send any host name, and these routes return no data.
    const isHealth = c.req.path === "/healthz" || c.req.path === "/readyz";
    // HTTP/2 sends :authority instead, HTTP/1.0 may send neither; the URL then has the authority.
    if (!isHealth) allowedHosts.check(c.req.header("Host") ?? URL.parse(c.req.url)?.host ?? "");
    return next();
  });

  app.openapi(metricsRoute, async (c) => {
    const form = chooseForm(c.req.header("Accept"));
    c.header("Cache-Control", "no-cache");
    c.header("Vary", "Accept, Accept-Encoding");
    const read = async () => {
      const snapshot = await snapshots.current();
      return { snapshot, body: await snapshot.body(form, chooseEncoding(c.req.header("Accept-Encoding"))) };
    };
    let snapshot: Snapshot, body: SnapshotBody;
    try {
      ({ snapshot, body } = await (form === "json" ? read() : beforeScrapeTimeout(c, read())));
    } catch (error) {
      if (form === "json" || !(error instanceof StoreError)) throw error;
      c.header("Content-Type", PROMETHEUS_CONTENT_TYPE);
      return c.body(snapshots.withoutStore());
    }
    c.header("Tally-Snapshot-Age-Ms", String(snapshots.ageMs(snapshot)));
    if (form === "json") {
      c.header("ETag", body.etag);
      if (matchesEtag(c.req.header("If-None-Match"), body.etag)) return c.body(null, 304);
    }
    c.header("Content-Type", form === "json" ? "application/json" : PROMETHEUS_CONTENT_TYPE);
    c.header("Content-Length", String(body.byteLength));
    if (body.encoding !== "identity") c.header("Content-Encoding", body.encoding);
    return c.body(streamBody(body, readTimeoutMs));
  });

  app.openapi(healthRoute, (c) => {
    c.header("Cache-Control", "no-store");
    return c.json({ status: "ok" as const }, 200);
  });

  app.openapi(readinessRoute, async (c) => {
    await Promise.all([store.ping(), fleet.loaded()]);
    const reason = notReady();
    if (reason !== undefined) throw new RequestError("UNAVAILABLE", reason);
    c.header("Cache-Control", "no-store");
    return c.json({ status: "ok" as const }, 200);
  });

  addDeviceRoutes(app, options);
  addPage(app);
  addDocs(app);
  refuseOtherMethods(app);

  app.notFound((c) => answerError(c, new RequestError("NOT_FOUND", `there is nothing at ${c.req.path}`)));

  app.onError((error, c) => {
    // What the store's failures have to say is in the log already, once for each outage; what a caller did
    // wrong, the caller is told.
    if (!(error instanceof StoreError || error instanceof RequestError)) {
      log.error("Answering {method} {path} failed", { method: c.req.method, path: c.req.path, error });
    }
    return answerError(c, error);
  });

  const { fetch } = app;
  app.fetch = async (request, ...rest) => withoutFalseLength(request, await fetch(request, ...rest));
  return app;
}

/**
 * What `work` resolves to; rejects with {@linkcode StoreError} shortly before the scrape timeout that the
 * Prometheus server states in its request, after which it would report the api as down instead of the store.
 */
async function beforeScrapeTimeout<T>(c: Context, work: Promise<T>): Promise<T> {
  const seconds = Number(c.req.header("X-Prometheus-Scrape-Timeout-Seconds"));
  if (!(seconds > 0 && seconds <= MAX_SCRAPE_TIMEOUT_S)) return await work;
  return await withTimeout(seconds * SCRAPE_SHARE * 1_000, work, () => {
    throw new StoreError(`Cannot read the store within ${seconds} s, the timeout of the scrape`);
  });
}

/** Share of the scrape timeout used; the rest is for the network. */
const SCRAPE_SHARE = 0.8;

/** A longer timeout is ignored. */
const MAX_SCRAPE_TIMEOUT_S = 3_600;

/** Hono drops the body of GET's response to answer HEAD, and with it Content-Length: it is set here before. */
async function measureHead(c: Context, next: Next): Promise<void> {
  await next();
  if (c.req.raw.method !== "HEAD" || c.res.body === null || c.res.headers.has("Content-Length")) return;
  c.header("Content-Length", String((await c.res.clone().arrayBuffer()).byteLength));
}

/**
 * The final response to a HEAD: one of unknown length, such as an event stream, must not get `Content-Length: 0`,
 * which the server sets for a response without body.
 */
function withoutFalseLength(request: Request, response: Response): Response {
  const isKnown = response.headers.has("Content-Length") || response.status !== 200;
  return request.method !== "HEAD" || isKnown ? response : new Response(new ReadableStream(), response);
}

/** 405 for every method but those that the paths registered until now are asked with. */
function refuseOtherMethods(app: OpenAPIHono): void {
  const methods = new Map<string, string[]>();
  for (const { path, method } of app.routes) {
    // Hono answers HEAD with what it has for GET.
    const answered = method === "ALL" ? [] : method === "GET" ? ["GET", "HEAD"] : [method];
    if (answered.length > 0) methods.set(path, [...methods.get(path) ?? [], ...answered]);
  }
  for (const [path, answered] of methods) {
    const allowed = [...new Set(answered)];
    app.all(path, (c) => {
      c.header("Allow", allowed.join(", "));
      const message = `${path} cannot be asked with ${c.req.method}: use ${allowed.join(" or ")}`;
      return c.json({ error: message }, 405);
    });
  }
}

/** One chunk goes out at once; more are handed over as the reader takes them. */
function streamBody(body: SnapshotBody, readTimeoutMs: number): Uint8Array<ArrayBuffer> | ReadableStream {
  const [only] = body.chunks;
  if (only !== undefined && body.chunks.length === 1) return only;
  let sent = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  return new ReadableStream<Uint8Array>({
    pull(controller) {
      // Begun with the first chunk taken, as the answer to a HEAD is never read.
      timer ??= setTimeout(
        () => controller.error(new Error(`the reader did not take the body in ${readTimeoutMs} ms`)),
        readTimeoutMs,
      );
      const chunk = body.chunks[sent++];
      if (chunk !== undefined) return controller.enqueue(chunk);
      clearTimeout(timer);
      controller.close();
    },
    cancel() {
      clearTimeout(timer);
    },
  }, { highWaterMark: 0 });
}
