/**
 * Reports of ingest processes in Redis.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import { INSTANCE_EXPIRY_MS, type InstanceRegistry } from "../instances.ts";
import { currentReports } from "../model/current_reports.ts";
import type { RedisClient } from "./redis_client.ts";
import { instancesScript, removeInstanceScript, reportScript } from "./scripts.ts";

/** Reports as JSON. */
export function redisInstances(client: RedisClient): InstanceRegistry {
  const names = client.keys;
  return {
    async reportInstance(report) {
      const args = [report.instance, report.reportedMs, JSON.stringify(report), INSTANCE_EXPIRY_MS];
      await client.write("report an instance", reportScript, [names.instances], args);
    },

    async removeInstance(instance) {
      await client.write("remove an instance", removeInstanceScript, [names.instances], [instance]);
    },

    async instances(nowMs) {
      const reports = await client.read(
        "read the instances",
        instancesScript,
        [names.instances],
        [],
      ) as Buffer[];
      return currentReports(reports.map((value) => value.toString("utf8", value.indexOf(" ") + 1)), nowMs);
    },
  };
}
