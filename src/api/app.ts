/**
 * The api's routes. Every answer that is not 2xx or 304 is JSON: `{"error": "…"}`.
 *
 * @module
 */
import { type Context, type Handler, Hono } from "@hono/hono";
import { secureHeaders } from "@hono/hono/secure-headers";
import type { Logger } from "@logtape/logtape";

import { httpStatus, RequestError } from "../errors.ts";
import { type Store, StoreError } from "../store/store.ts";
import { chooseEncoding, chooseForm, matchesEtag } from "./negotiate.ts";
import { PROMETHEUS_CONTENT_TYPE } from "./prometheus.ts";
import type { SnapshotBody, Snapshots } from "./snapshot.ts";

/** What the routes need. */
export interface AppOptions {
  /** Asked by `/readyz`. */
  readonly store: Pick<Store, "ping">;
  /** Served by `/metrics`. */
  readonly snapshots: Snapshots;
  /** Told of errors nobody foresaw. */
  readonly log: Logger;
  /** A reader that takes longer than this for one body is cut off: it keeps an old snapshot in memory. */
  readonly readTimeoutMs: number;
}

/** The api as a Hono app; `app.fetch` answers requests. */
export function createApp({ store, snapshots, log, readTimeoutMs }: AppOptions): Hono {
  const app = new Hono();

  app.use(secureHeaders({
    contentSecurityPolicy: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
    xFrameOptions: "DENY",
    // Whether there is TLS in front is not ours to say.
    strictTransportSecurity: false,
    // For browsers long gone; each header costs every answer some microseconds.
    xDnsPrefetchControl: false,
    xDownloadOptions: false,
    xPermittedCrossDomainPolicies: false,
    xXssProtection: false,
  }));

  function get(path: string, handler: Handler) {
    app.get(path, handler); // Hono answers HEAD with it too.
    app.all(path, (c) => {
      c.header("Allow", "GET, HEAD");
      return c.json({ error: `${path} cannot be asked with ${c.req.method}: use GET or HEAD` }, 405);
    });
  }

  get("/metrics", async (c) => {
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

  get("/healthz", (c) => {
    c.header("Cache-Control", "no-store");
    return c.json({ status: "ok" });
  });

  get("/readyz", async (c) => {
    await store.ping();
    c.header("Cache-Control", "no-store");
    return c.json({ status: "ok" });
  });

  app.notFound((c) => answerError(c, new RequestError("NOT_FOUND", `there is nothing at ${c.req.path}`)));

  app.onError((error, c) => {
    // What the store's failures have to say is in the log already, once for each outage.
    if (!(error instanceof StoreError)) {
      log.error("Answering {method} {path} failed", { method: c.req.method, path: c.req.path, error });
    }
    return answerError(c, error);
  });

  return app;
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
