/**
 * Rules, mutes, and the state of alerts in Redis.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import {
  type AlertDocument,
  type AlertDocumentKind,
  type AlertDocumentStore,
  type AlertSection,
  type AlertStateStore,
  type AlertStore,
  MAX_ALERT_DOCUMENTS,
} from "../alerts.ts";
import type { RedisClient } from "./redis_client.ts";
import {
  alertDocumentsScript,
  alertEntryScript,
  alertStateScript,
  claimAlertsScript,
  putAlertsScript,
  removeAlertsScript,
  writeAlertsScript,
} from "./scripts.ts";

const kinds = ["rule", "mute", "acknowledgement"] as const satisfies readonly AlertDocumentKind[];
const sections = ["incidents", "memory"] as const satisfies readonly AlertSection[];

/** No version that a store has. */
const NEVER = "never";

/** Hashes, a version for each of the two parts, and the lease. */
export function redisAlerts(client: RedisClient): AlertStore {
  return { ...documentStore(client), ...stateStore(client) };
}

function documentStore(client: RedisClient): AlertDocumentStore {
  const names = client.keys;
  const hashes = kinds.map((kind) => names.alerts(kind));
  return {
    async alertDocuments(since = NEVER) {
      const keys = [names.alertDocumentsVersion, ...hashes];
      const reply = await client.read("read the rules of alerts", alertDocumentsScript, keys, [since]);
      if (reply === null) return undefined;
      const [version, ...found] = reply as [Buffer, ...Buffer[][]];
      const documents = found.flatMap((entries, kind) => documentsOf(kinds[kind]!, entries));
      return { version: version.toString(), documents };
    },

    async putAlertDocuments(documents) {
      if (documents.length === 0) return { versions: [] };
      const keys = [names.alertDocumentsVersion, names.nothing, ...hashes];
      const args = documents.flatMap(({ kind, id, expected, body }) => [
        ...[kinds.indexOf(kind) + 1, id, expected ?? "", MAX_ALERT_DOCUMENTS[kind], body],
      ]);
      const [outcome, ...rest] = await client.write(
        "store rules of alerts",
        putAlertsScript,
        keys,
        args,
      ) as unknown[];
      const refused = String(outcome);
      if (refused === "conflict" || refused === "full") return { refused, id: String(rest[0]) };
      return { versions: rest.map(Number) };
    },

    async removeAlertDocuments(kind, ids) {
      if (ids.length === 0) return [];
      const keys = [names.alertDocumentsVersion, names.nothing, names.alerts(kind)];
      const removed = await client.write("remove rules of alerts", removeAlertsScript, keys, ids) as Buffer[];
      return removed.map(String);
    },
  };
}

function stateStore(client: RedisClient): AlertStateStore {
  const names = client.keys;
  return {
    async claimAlerts(owner, ttlMs) {
      const keys = [names.alertsOwner, names.alertStateVersion];
      const version = await client.write("claim the alerts", claimAlertsScript, keys, [owner, ttlMs]);
      return version === null ? undefined : String(version);
    },

    async alertState(section, since = NEVER) {
      const keys = [names.alertStateVersion, names.alerts(section)];
      const reply = await client.read("read the state of alerts", alertStateScript, keys, [since]);
      if (reply === null) return undefined;
      const [version, found] = reply as [Buffer, Buffer[]];
      const entries = new Map<string, string>();
      for (let i = 0; i < found.length; i += 2) entries.set(String(found[i]), String(found[i + 1]));
      return { version: version.toString(), entries };
    },

    async alertEntry(section, field) {
      const keys = [names.alerts(section)];
      const body = await client.read("read the state of alerts", alertEntryScript, keys, [field]);
      return body === null ? undefined : String(body);
    },

    async writeAlertState(owner, changes) {
      const keys = [
        ...[names.alertsOwner, names.alertStateVersion, names.nothing],
        ...sections.map((section) => names.alerts(section)),
      ];
      const args = changes.flatMap(({ section, field, body }) => [
        ...[sections.indexOf(section) + 1, field, body === undefined ? "" : `+${body}`],
      ]);
      const version = await client.write("write the state of alerts", writeAlertsScript, keys, [
        owner,
        ...args,
      ]);
      return version === null ? undefined : String(version);
    },
  };
}

function documentsOf(kind: AlertDocumentKind, entries: readonly Buffer[]): AlertDocument[] {
  const documents: AlertDocument[] = [];
  for (let i = 0; i < entries.length; i += 2) {
    const text = String(entries[i + 1]), at = text.indexOf(" ");
    documents.push({
      ...{ kind, id: String(entries[i]), version: Number(text.slice(0, at)), body: text.slice(at + 1) },
    });
  }
  return documents.sort(byId);
}

function byId(one: AlertDocument, other: AlertDocument): number {
  return one.id < other.id ? -1 : 1;
}
