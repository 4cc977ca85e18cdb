/**
 * Which messages about incidents are due.
 *
 * @module
 */
import type { Incident } from "./incident.ts";
import type { IncidentBook } from "./incident_book.ts";
import type { ActiveMutes } from "./mute.ts";
import type { Outbox } from "./outbox.ts";

/** An incident is new for so long: what joins it meanwhile is in its first message. */
export const GROUP_WAIT_MS = 5_000;

/** Devices that joined later are in a further message, no sooner than this after the one before. */
export const UPDATE_AFTER_MS = 60_000;

/** What {@linkcode addDueMessages} needs. */
export interface DueMessageOptions {
  /** Has the incidents. */
  readonly book: IncidentBook;
  /** Receives the messages. */
  readonly outbox: Outbox;
  /** No message is due for what they cover. */
  readonly mutes: ActiveMutes;
  /** Of incidents that people have acknowledged there are no updates. */
  readonly isAcknowledged: (incidentId: number) => boolean;
  /** Names of the channels for an incident. */
  readonly channelsOf: (incident: Incident) => readonly string[];
  /** Unix milliseconds. */
  readonly nowMs: number;
  /** {@linkcode GROUP_WAIT_MS} in production. */
  readonly groupWaitMs: number;
  /** {@linkcode UPDATE_AFTER_MS} in production. */
  readonly updateAfterMs: number;
}

/**
 * Adds the messages about open incidents that are due: the first one, and updates. An incident that ended before its
 * first one, or was muted all the time, has none.
 */
export function addDueMessages(options: DueMessageOptions): void {
  const { book, outbox, mutes, isAcknowledged, channelsOf, nowMs, groupWaitMs, updateAfterMs } = options;
  for (const incident of book.open()) {
    const { id, rule_id, sent, started_ms, devices } = incident;
    const isDue = sent === null
      ? nowMs - started_ms >= groupWaitMs
      : devices > sent.devices && nowMs - sent.at_ms >= updateAfterMs && !isAcknowledged(id);
    if (!isDue || mutes.covers(rule_id, book.firingDevices(id))) continue;
    outbox.add(sent === null ? "firing" : "update", incident, channelsOf(incident), nowMs);
    book.touch(id);
  }
}
