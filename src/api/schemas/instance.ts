/**
 * An ingest process in `/fleet`.
 *
 * @module
 */
import type { z } from "@hono/zod-openapi";

import { ingestMetrics } from "../../metrics/ingest_metrics.ts";
import { type MetricRow, metricSchema } from "./metric_table.ts";

/** What an ingest process reports, by the names readers see. */
export type Instance = MetricRow<typeof ingestMetrics>;

/** Its schema. */
export const Instance: z.ZodType<Instance> = metricSchema(ingestMetrics).openapi("Instance");
