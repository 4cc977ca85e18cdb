/**
 * The audit log in Redis.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import type { AuditEntry, AuditStore } from "../audit.ts";
import type { RedisClient } from "./redis_client.ts";
import { appendAuditScript, auditScript } from "./scripts.ts";

/** Entries as JSON. */
export function redisAudit(client: RedisClient): AuditStore {
  const names = client.keys;
  return {
    async appendAudit(entries) {
      if (entries.length === 0) return;
      const args = entries.map(({ atMs, actor, action, target, detail }) =>
        JSON.stringify({ atMs, actor, action, target, detail })
      );
      await client.write("append to the audit log", appendAuditScript, [names.audit, names.nothing], args);
    },

    async audit(before, limit) {
      const args = [before ?? -1, limit];
      const entries = await client.read("read the audit log", auditScript, [names.audit], args) as Buffer[];
      return entries.reverse().map((entry) => {
        const text = entry.toString(), at = text.indexOf(" ");
        return { id: Number(text.slice(0, at)), ...JSON.parse(text.slice(at)) as AuditEntry };
      });
    },
  };
}
