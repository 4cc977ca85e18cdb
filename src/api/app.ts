/**
 * The api as one Hono app: what applies to every request, then the routes.
 *
 * A new resource has its schema in `schemas/`, its route in `routes/`, and a line in {@linkcode createApp}.
 *
 * @module
 */
import type { Context, Next } from "@hono/hono";
import { cors } from "@hono/hono/cors";
import { HTTPException } from "@hono/hono/http-exception";
import { methodNotAllowed } from "@hono/hono/method-not-allowed";
import { OpenAPIHono } from "@hono/zod-openapi";
import type { Logger } from "@logtape/logtape";

import { RequestError } from "../protocol/request_error.ts";
import { StoreError } from "../store/store_error.ts";
import { type AccessOptions, checkAccess } from "./http/access.ts";
import { measureHead, withoutFalseLength } from "./http/head.ts";
import type { AllowedHosts } from "../http/hosts.ts";
import { parameterError } from "./http/parameter_error.ts";
import { errorResponse, problemResponse } from "./http/problem.ts";
import { securityHeaders } from "./http/security_headers.ts";
import { MAX_IMPORT_BYTES } from "./responses/label_import.ts";
import { addAudit, type AuditOptions } from "./routes/audit.ts";
import { addDevice, type DeviceOptions } from "./routes/device.ts";
import { addDevices, type DevicesOptions } from "./routes/devices.ts";
import { addDocs } from "./routes/docs.ts";
import { addEvents, type EventsOptions } from "./routes/events.ts";
import { addExport, type ExportOptions } from "./routes/export.ts";
import { addFleet, type FleetRouteOptions } from "./routes/fleet.ts";
import { addHealth, type HealthOptions, isHealthPath } from "./routes/health.ts";
import { addHistories, type HistoriesOptions } from "./routes/histories.ts";
import { addIncidents, type IncidentsOptions } from "./routes/incidents.ts";
import { addLabels, type LabelsOptions } from "./routes/labels.ts";
import { addLive, type LiveOptions } from "./routes/live.ts";
import { addMetrics, type MetricsOptions } from "./routes/metrics.ts";
import { addMutes, type MutesOptions } from "./routes/mutes.ts";
import { addPackets, type PacketsOptions } from "./routes/packets.ts";
import { addPage } from "./routes/page.ts";
import { addRules, type RulesOptions } from "./routes/rules.ts";
import { addTags, type TagsOptions } from "./routes/tags.ts";
import { addTokens, type TokensOptions } from "./routes/tokens.ts";
import { addValues, type ValuesOptions } from "./routes/values.ts";

/** A thousand ids of 128 bytes each, in JSON with escapes. */
const MAX_BODY_BYTES = 2 ** 20;

/** The longest notes, each character of which is written as an escape, and all tags. */
const MAX_PATCH_BYTES = 64 * 2 ** 10;

/** Browsers ask again after so long whether a page of a listed origin may send a request. */
const PREFLIGHT_MAX_AGE_S = 600;

/** What the routes need. */
export type AppOptions =
  & MetricsOptions
  & HealthOptions
  & DevicesOptions
  & DeviceOptions
  & LabelsOptions
  & TagsOptions
  & PacketsOptions
  & HistoriesOptions
  & ExportOptions
  & FleetRouteOptions
  & ValuesOptions
  & LiveOptions
  & EventsOptions
  & RulesOptions
  & IncidentsOptions
  & MutesOptions
  & TokensOptions
  & AuditOptions
  & AccessOptions
  & {
    /** Host names that requests may have. */
    readonly allowedHosts: AllowedHosts;
    /** The port has TLS. */
    readonly isSecure: boolean;
    /** Origins of web pages that may read responses, besides the api's own. */
    readonly corsOrigins: readonly string[];
    /** Receives unexpected errors. */
    readonly log: Logger;
  };

/** Creates the app; `app.fetch` responds to requests. */
export function createApp(options: AppOptions): OpenAPIHono {
  const { log } = options;
  const app = new OpenAPIHono({
    defaultHook(result, c) {
      // Beside the result are the parameters; the type does not have them.
      const { data } = result as { data?: unknown };
      if (!result.success) return errorResponse(c.req.raw, parameterError(data, result.error.issues));
    },
  });

  useMiddleware(app, options);

  addMetrics(app, options);
  addHealth(app, options);
  addDevices(app, options);
  addLabels(app, options);
  addPackets(app, options);
  // Before the routes of devices, as a device may have the id "by-id".
  addValues(app, options);
  addDevice(app, options);
  addTags(app, options);
  addHistories(app, options);
  addExport(app, options);
  addFleet(app, options);
  addLive(app, options);
  addEvents(app, options);
  addRules(app, options);
  addIncidents(app, options);
  addMutes(app, options);
  addTokens(app, options);
  addAudit(app, options);
  addPage(app);
  addDocs(app);

  app.notFound((c) => errorResponse(c.req.raw, nothingAt(c.req.path)));
  app.onError((error, c) => {
    if (error instanceof HTTPException) return badBody(c, error.status);
    // FleetCache logs an outage of the store once; a RequestError is for its client only.
    if (!(error instanceof StoreError || error instanceof RequestError)) {
      log.error("Answering {method} {path} failed", { method: c.req.method, path: c.req.path, error });
    }
    return errorResponse(c.req.raw, error);
  });

  const { fetch } = app;
  app.fetch = async (request, ...rest) => withoutFalseLength(request, await fetch(request, ...rest));
  return app;
}

/** What applies to every request, in this order. */
function useMiddleware(app: OpenAPIHono, options: AppOptions): void {
  const { allowedHosts, corsOrigins } = options;
  app.use(securityHeaders(options.isSecure));
  app.use(measureHead);
  app.use((c, next) => {
    // Load balancers send any host name, and these routes return no data.
    if (!isHealthPath(c.req.path)) {
      // HTTP/2 sends :authority instead, HTTP/1.0 may send neither; the URL then has the authority.
      allowedHosts.check(c.req.header("Host") ?? URL.parse(c.req.url)?.host ?? "");
    }
    return next();
  });
  // Before access is checked, as preflight requests have no credentials.
  if (corsOrigins.length > 0) {
    app.use(cors({
      origin: [...corsOrigins],
      allowMethods: ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
      allowHeaders: ["Authorization", "Content-Type", "If-None-Match", "Last-Event-ID"],
      exposeHeaders: ["ETag", "Retry-After", "Tally-Export-Devices", "WWW-Authenticate"],
      maxAge: PREFLIGHT_MAX_AGE_S,
    }));
  }
  app.use(checkAccess(options));
  app.use(methodNotAllowed({
    app,
    onMethodNotAllowed(c, methods) {
      const detail = `Cannot ${c.req.method} ${c.req.path}: expected ${methods.join(" or ")}`;
      return problemResponse(c.req.raw, 405, detail, { Allow: methods.join(", ") });
    },
  }));
  app.use("/tokens/*", limitBody(MAX_BODY_BYTES));
  app.on("PATCH", "/devices/:id", limitBody(MAX_PATCH_BYTES));
  app.use("/devices/import", limitBody(MAX_IMPORT_BYTES));
  for (const path of ["/rules/*", "/incidents/*", "/mutes/*"]) app.use(path, limitBody(MAX_BODY_BYTES));
}

/**
 * Middleware. `hono/body-limit` copies bodies without Content-Length by way of `request.signal`, of which Deno then
 * writes a warning; all usual clients send it with the bodies that these routes expect.
 */
function limitBody(maxBytes: number) {
  return async (c: Context, next: Next): Promise<Response | void> => {
    const length = c.req.header("Content-Length");
    if (["POST", "PUT", "PATCH"].includes(c.req.method) && length === undefined) {
      return problemResponse(c.req.raw, 411, "Cannot use the body: expected a Content-Length");
    }
    if (Number(length ?? 0) > maxBytes) {
      const detail = `Cannot use the body: found ${length} bytes; expected ${maxBytes} at most`;
      return problemResponse(c.req.raw, 413, detail);
    }
    await next();
  };
}

/** The response to a body that cannot be used; `status`: what Hono found. */
function badBody(c: Context, status: number): Response {
  return status === 415
    ? problemResponse(c.req.raw, 415, "Cannot use the body: expected Content-Type: application/json")
    : problemResponse(c.req.raw, 400, "Cannot use the body: found no valid JSON; expected a JSON object");
}

function nothingAt(path: string): RequestError {
  return new RequestError("NOT_FOUND", `there is nothing at ${path}`);
}
