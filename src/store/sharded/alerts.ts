/**
 * Alerts of a store of several shards: all of them are in the first.
 *
 * @module
 */
import type { AlertStore } from "../alerts.ts";

/** They are of no device. */
export function shardedAlerts(first: AlertStore): AlertStore {
  return {
    alertDocuments: (since) => first.alertDocuments(since),
    putAlertDocuments: (documents) => first.putAlertDocuments(documents),
    removeAlertDocuments: (kind, ids) => first.removeAlertDocuments(kind, ids),
    claimAlerts: (owner, ttlMs, nowMs) => first.claimAlerts(owner, ttlMs, nowMs),
    alertState: (section, since) => first.alertState(section, since),
    alertEntry: (section, field) => first.alertEntry(section, field),
    writeAlertState: (owner, changes, nowMs) => first.writeAlertState(owner, changes, nowMs),
  };
}
