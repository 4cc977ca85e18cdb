/**
 * The api's routes. Every answer that is not 2xx or 304 is JSON: `{"error": "…"}`.
 *
 * @module
 */
import type { Context } from "@hono/hono";
import { secureHeaders } from "@hono/hono/secure-headers";
import { createRoute, OpenAPIHono, z } from "@hono/zod-openapi";
import type { Logger } from "@logtape/logtape";

import { httpStatus, RequestError } from "../errors.ts";
import { type Store, StoreError } from "../store/store.ts";
import { addDeviceRoutes, type DeviceRoutesOptions } from "./devices.ts";
import { addDocs } from "./docs.ts";
import { chooseEncoding, chooseForm, matchesEtag } from "./negotiate.ts";
import { addPage } from "./page.ts";
import { PROMETHEUS_CONTENT_TYPE } from "./prometheus.ts";
import { Counts, Failure, Health } from "./schemas.ts";
import type { SnapshotBody, Snapshots } from "./snapshot.ts";

/** What the routes need. */
export interface AppOptions extends DeviceRoutesOptions {
  /** Asked by `/readyz`, as the fleet is, and as {@linkcode DeviceRoutesOptions} says. */
  readonly store: DeviceRoutesOptions["store"] & Pick<Store, "ping">;
  /** Why `/readyz` should answer 503 besides the store and the fleet; undefined: for no reason. */
  readonly notReady: () => string | undefined;
  /** Served by `/metrics`. */
  readonly snapshots: Snapshots;
  /** Told of errors nobody foresaw. */
  readonly log: Logger;
  /** A reader that takes longer than this for one body is cut off: it keeps an old snapshot in memory. */
  readonly readTimeoutMs: number;
}

const unavailable = {
  description: "The store is unreachable: try again",
  content: { "application/json": { schema: Failure } },
};
const healthy = { description: "Yes", content: { "application/json": { schema: Health } } };

const metricsRoute = createRoute({
  method: "get",
  path: "/metrics",
  tags: ["Fleet"],
  summary: "Every device's count, as JSON or for Prometheus",
  description: "Prometheus' text format where `Accept` asks for `text/plain` rather than JSON. " +
    "The header `Tally-Snapshot-Age-Ms` says how old the counts are: 250 ms at most when the request came.",
  responses: {
    200: {
      description: "The counts",
      content: { "application/json": { schema: Counts }, "text/plain": { schema: z.string() } },
    },
    304: { description: "They are those of `If-None-Match`" },
    503: unavailable,
  },
});

const healthRoute = createRoute({
  method: "get",
  path: "/healthz",
  tags: ["Health"],
  summary: "Does the process live?",
  responses: { 200: healthy },
});

const readinessRoute = createRoute({
  method: "get",
  path: "/readyz",
  tags: ["Health"],
  summary: "Does the store answer, and have the devices been read?",
  description:
    "After the api's start the answer comes when all devices have been read: then no request has to " +
    "wait for that.",
  responses: { 200: healthy, 503: unavailable },
});

/** The api as a Hono app; `app.fetch` answers requests. */
export function createApp(options: AppOptions): OpenAPIHono {
  const { store, fleet, snapshots, log, notReady, readTimeoutMs } = options;
  const app = new OpenAPIHono({
    defaultHook(result, c) {
      if (result.success) return;
      const problems = result.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
      return answerError(c, new RequestError("INVALID_ARGUMENT", problems.join("; ")));
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

  app.openapi(metricsRoute, async (c) => {
    const snapshot = await snapshots.current();
    const form = chooseForm(c.req.header("Accept"));
    const body = await snapshot.body(form, chooseEncoding(c.req.header("Accept-Encoding")));

    c.header("Tally-Snapshot-Age-Ms", String(snapshots.ageMs(snapshot)));
    c.header("Cache-Control", "no-cache");
    c.header("Vary", "Accept, Accept-Encoding");
    c.header("ETag", body.etag);
    if (matchesEtag(c.req.header("If-None-Match"), body.etag)) return c.body(null, 304);
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

  return app;
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

function answerError(c: Context, error: unknown): Response {
  const { status, message } = httpStatus(error);
  c.header("Cache-Control", "no-store");
  if (status === 503) c.header("Retry-After", "1");
  return c.json({ error: message }, status);
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
