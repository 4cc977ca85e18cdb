/**
 * Events in Redis, and the lease to deliver them.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import type { EventStore } from "../events.ts";
import type { DeliveryLease } from "../lease.ts";
import { readEvent } from "./records.ts";
import type { RedisClient } from "./redis_client.ts";
import {
  claimDeliveryScript,
  commitDeliveryScript,
  eventsScript,
  importEventsScript,
  newestEventsScript,
  offlineScript,
} from "./scripts.ts";

/** Events and their delivery. */
export function redisEvents(client: RedisClient): EventStore & DeliveryLease {
  const names = client.keys;
  return {
    async markOffline(deviceIds, lastSeenBeforeMs, nowMs) {
      if (deviceIds.length === 0) return 0;
      const attempt = `mark ${deviceIds.length} devices offline`;
      const keys = [
        names.records,
        names.events,
        names.version,
        names.changes,
        names.lineage,
        names.nothing,
        names.logs,
      ];
      const args = [lastSeenBeforeMs, nowMs, ...deviceIds];
      return await client.write(attempt, offlineScript, keys, args) as number;
    },

    async events(after, limit) {
      const [script, args] = after === undefined
        ? [newestEventsScript, [limit]] as const
        : [eventsScript, [after, limit]] as const;
      const entries = await client.read("read events", script, [names.events], args) as Buffer[];
      return entries.map((entry) => readEvent(entry.toString()));
    },

    async importEvents(source, after, events, until = events.at(-1)?.id ?? after) {
      const keys = [names.imports, names.events, names.lineage, names.version, names.nothing];
      const texts = events.map(({ kind, atMs, lastSeenMs, deviceId }) => (
        `${kind} ${atMs} ${lastSeenMs} ${deviceId}`
      ));
      const attempt = `append ${events.length} events of ${source}`;
      return await client.write(attempt, importEventsScript, keys, [
        source,
        after,
        until,
        ...texts,
      ]) as number;
    },

    async claimDelivery(owner, ttlMs) {
      const attempt = "claim the delivery of events";
      const keys = [names.deliveryOwner, names.delivered, names.events, names.lineage, names.version];
      const delivered = await client.write(attempt, claimDeliveryScript, keys, [owner, ttlMs]);
      return delivered === null ? undefined : Number(delivered);
    },

    async commitDelivery(owner, eventId) {
      const keys = [names.deliveryOwner, names.delivered], args = [owner, eventId];
      return await client.write("commit delivered events", commitDeliveryScript, keys, args) === 1;
    },
  };
}
