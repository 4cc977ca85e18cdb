/**
 * A shard of the store in `/fleet`.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

import { count, unixMs } from "./fields.ts";

/** @internal */
export const Shard = z.object({
  address: z.string().openapi({ description: "Where it is; of a Redis Cluster, its master" }),
  devices: count.nullable().openapi({ description: "Devices in it; null: not known" }),
  memory_bytes: count.nullable().openapi({
    description: "Memory that its server uses, for other shards on it too; null: not known",
  }),
  response_ms: count.nullable().openapi({ description: "How long it took to answer; null: it did not" }),
  late_since_ms: unixMs.nullable().openapi({
    description: "Since when it does not answer: its devices are shown as they were; null: it answers",
  }),
  counts_late_ms: count.nullable().openapi({
    description:
      "How long ago the oldest of its packets were received that are stored and not counted yet; 0: all " +
      "are counted; null: not known",
  }),
}).openapi("Shard");
