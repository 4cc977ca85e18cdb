/**
 * `/metrics`: every device's count, as JSON or in Prometheus's text format.
 *
 * @module
 */
import type { Context } from "@hono/hono";
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";

import { PROMETHEUS_CONTENT_TYPE } from "../../metrics/prometheus_text.ts";
import { withTimeout } from "../../runtime/timeout.ts";
import { StoreError } from "../../store/store_error.ts";
import { notModified } from "../http/conditional.ts";
import { chooseEncoding, chooseForm } from "../http/negotiate.ts";
import { invalid, unavailable, unchanged } from "../http/openapi.ts";
import type { Snapshot, SnapshotBody, Snapshots } from "../responses/metrics_snapshot.ts";
import { Counts } from "../schemas/metrics.ts";
import { NoParameters } from "../schemas/parameters.ts";

/** What the route needs. */
export interface MetricsOptions {
  /** Has the bodies. */
  readonly snapshots: Snapshots;
  /** A body that a client has not read after this time is cut off: it keeps an old snapshot in memory. */
  readonly readTimeoutMs: number;
}

const metricsRoute = createRoute({
  method: "get",
  path: "/metrics",
  operationId: "getMetrics",
  tags: ["Fleet"],
  summary: "Every device's count, as JSON or for Prometheus",
  description: "Prometheus's text format where `Accept` prefers `text/plain` to JSON. The header " +
    "`Tally-Snapshot-Age-Ms` has the age of the counts: 250 ms at most when the request came. While the store " +
    "cannot be read, JSON gets 503, and Prometheus 200 with `tally_store_up 0` and the figures of the api's own " +
    "process: none that come from the store.",
  request: { query: NoParameters },
  responses: {
    200: {
      description: "The counts",
      content: { "application/json": { schema: Counts }, "text/plain": { schema: z.string() } },
    },
    304: unchanged,
    400: invalid,
    503: unavailable,
  },
});

/** Adds the route. */
export function addMetrics(app: OpenAPIHono, { snapshots, readTimeoutMs }: MetricsOptions): void {
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
    const unchanged = form === "json" ? notModified(c, body.etag) : undefined;
    if (unchanged !== undefined) return unchanged;
    c.header("Content-Type", form === "json" ? "application/json" : PROMETHEUS_CONTENT_TYPE);
    c.header("Content-Length", String(body.byteLength));
    if (body.encoding !== "identity") c.header("Content-Encoding", body.encoding);
    return c.body(streamBody(body, readTimeoutMs));
  });
}

/** Share of the scrape timeout used; the rest is for the network. */
const SCRAPE_SHARE = 0.8;

/** A longer timeout is ignored. */
const MAX_SCRAPE_TIMEOUT_S = 3_600;

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

/** One chunk is sent at once; more are enqueued as the client reads. */
function streamBody(body: SnapshotBody, readTimeoutMs: number): Uint8Array<ArrayBuffer> | ReadableStream {
  const [only] = body.chunks;
  if (only !== undefined && body.chunks.length === 1) return only;
  let sent = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  return new ReadableStream<Uint8Array>({
    pull(controller) {
      // Starts with the first chunk pulled, as the body of a response to HEAD is never read.
      timer ??= setTimeout(
        () => controller.error(new Error(`the client did not read the body in ${readTimeoutMs} ms`)),
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
