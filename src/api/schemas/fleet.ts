/**
 * All devices together, and the processes that serve them.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

import { apiMetrics } from "../../metrics/api_metrics.ts";
import { clockAhead, count, rate, unixMs } from "./fields.ts";
import { periods, untilMs } from "./history.ts";
import { Instance } from "./instance.ts";
import { Shard } from "./shard.ts";
import { metricSchema } from "./metric_table.ts";

const Api = metricSchema(apiMetrics).openapi("Api");

const figures = z.object({
  now_ms: unixMs.openapi({ description: "Server time, Unix milliseconds" }),
  devices: count,
  tags: count.openapi({ description: "Distinct tags of all devices: /tags has them" }),
  online: count,
  offline: count,
  count: count.openapi({ description: "Packets stored of all devices known" }),
  rate_10s: rate.openapi({
    description: "Packets per second over the last ten seconds; of a younger fleet, since its first packet",
  }),
  rate_1m: rate.openapi({ description: "Packets per second over the last minute, likewise" }),
  offline_after_ms: count,
  last_event_id: count.openapi({
    description: "Newest of /events; when it changes, there are new ones. 0: none",
  }),
  store: z.object({
    description: z.string(),
    ok: z.boolean(),
    eviction_policy: z.string().nullable().openapi({
      description: "What it evicts when its memory is full, so that counts may be lost; null: nothing",
    }),
    clock_ahead_ms: clockAhead,
    counts_late_ms: count.openapi({
      description:
        "How long ago the oldest packets were received that are stored and not in the counts of their " +
        "devices yet, as with large fleets; 0: all are",
    }),
    shards: z.array(Shard).openapi({ description: "Empty: the store is one" }),
  }),
  webhook: z.object({
    delivered: count.openapi({ description: "Events its receiver has accepted" }),
    set_aside: count.openapi({ description: "Events its receiver has refused for good" }),
    gaps: count.openapi({ description: "Notices of events that were dropped before they were delivered" }),
    failures: count.openapi({ description: "Attempts that failed in a row" }),
    stopped: z.boolean().openapi({
      description: "Its receiver responded with 410: nothing more is delivered",
    }),
  }).nullable().openapi({ description: "Of this api process, since it started; null: there is no webhook" }),
  instances: z.array(Instance),
  api: Api.openapi({ description: "The api process that responds" }),
});

/** The fleet with its history. */
export type FleetReport = z.infer<typeof FleetReport>;

/** @internal */
export const FleetReport = figures.extend({
  history: z.object({
    until_ms: untilMs,
    seconds: periods("The last 900, oldest first; the last one is running"),
    minutes: periods("The last 60, likewise"),
    hours: periods("The last 24, likewise"),
  }),
}).openapi("Fleet");

/** The fleet as `/live` sends it. */
export type LiveFleet = z.infer<typeof LiveFleet>;

/** @internal */
export const LiveFleet = figures.extend({
  seconds: periods("The newest ones"),
}).openapi("LiveFleet");
