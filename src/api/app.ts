/**
 * The api as one Hono app: what applies to every request, then the routes.
 *
 * A new resource has its schema in `schemas/`, its route in `routes/`, and a line in {@linkcode createApp}.
 *
 * @module
 */
import { methodNotAllowed } from "@hono/hono/method-not-allowed";
import { OpenAPIHono } from "@hono/zod-openapi";
import type { Logger } from "@logtape/logtape";

import { RequestError } from "../protocol/request_error.ts";
import { StoreError } from "../store/store_error.ts";
import { measureHead, withoutFalseLength } from "./http/head.ts";
import type { AllowedHosts } from "./http/hosts.ts";
import { parameterError } from "./http/parameter_error.ts";
import { errorResponse, problemResponse } from "./http/problem.ts";
import { securityHeaders } from "./http/security_headers.ts";
import { addDevice, type DeviceOptions } from "./routes/device.ts";
import { addDevices, type DevicesOptions } from "./routes/devices.ts";
import { addDocs } from "./routes/docs.ts";
import { addEvents, type EventsOptions } from "./routes/events.ts";
import { addFleet, type FleetRouteOptions } from "./routes/fleet.ts";
import { addHealth, type HealthOptions, isHealthPath } from "./routes/health.ts";
import { addHistories, type HistoriesOptions } from "./routes/histories.ts";
import { addLive, type LiveOptions } from "./routes/live.ts";
import { addMetrics, type MetricsOptions } from "./routes/metrics.ts";
import { addPage } from "./routes/page.ts";

/** What the routes need. */
export type AppOptions =
  & MetricsOptions
  & HealthOptions
  & DevicesOptions
  & DeviceOptions
  & HistoriesOptions
  & FleetRouteOptions
  & LiveOptions
  & EventsOptions
  & {
    /** Host names that requests may have. */
    readonly allowedHosts: AllowedHosts;
    /** The port has TLS. */
    readonly isSecure: boolean;
    /** Receives unexpected errors. */
    readonly log: Logger;
  };

/** Creates the app; `app.fetch` responds to requests. */
export function createApp(options: AppOptions): OpenAPIHono {
  const { allowedHosts, log } = options;
  const app = new OpenAPIHono({
    defaultHook(result, c) {
      // Beside the result are the parameters; the type does not have them.
      const { data } = result as { data?: unknown };
      if (!result.success) return errorResponse(c.req.raw, parameterError(data, result.error.issues));
    },
  });

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
  app.use(methodNotAllowed({
    app,
    onMethodNotAllowed(c, methods) {
      const detail = `Cannot ${c.req.method} ${c.req.path}: expected ${methods.join(" or ")}`;
      return problemResponse(c.req.raw, 405, detail, { Allow: methods.join(", ") });
    },
  }));

  addMetrics(app, options);
  addHealth(app, options);
  addDevices(app, options);
  addDevice(app, options);
  addHistories(app, options);
  addFleet(app, options);
  addLive(app, options);
  addEvents(app, options);
  addPage(app);
  addDocs(app);

  app.notFound((c) => errorResponse(c.req.raw, nothingAt(c.req.path)));
  app.onError((error, c) => {
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

function nothingAt(path: string): RequestError {
  return new RequestError("NOT_FOUND", `there is nothing at ${path}`);
}
