/**
 * Devices that went offline or came back online.
 *
 * @module
 */

/** A device went offline or came back online. */
export interface DeviceEvent {
  /** One more than the event before it. */
  readonly id: number;
  /** State of the device since the event. */
  readonly kind: "online" | "offline";
  /** The device. */
  readonly deviceId: string;
  /** When it was detected, server time, Unix milliseconds. */
  readonly atMs: number;
  /** When the last packet before the event was received, server time, Unix milliseconds. */
  readonly lastSeenMs: number;
}

/** Writes and reads events. */
export interface EventStore {
  /**
   * Marks those of the devices offline, at most {@linkcode MAX_IDS_PER_CALL}, that are online and were
   * last seen before `lastSeenBeforeMs`, and writes an event for each; resolves to their number.
   * Each device goes offline once, also when several processes mark it. A batch received later than its last seen
   * brings it back, with an event.
   */
  markOffline(deviceIds: readonly string[], lastSeenBeforeMs: number, nowMs: number): Promise<number>;

  /**
   * Up to `limit` events after the one with id `after`, oldest first; 0 begins with the oldest kept, and
   * undefined returns the newest. The newest {@linkcode EVENTS_KEPT} are kept: when the first id is
   * not `after + 1`, those between were dropped.
   */
  events(after: number | undefined, limit: number): Promise<readonly DeviceEvent[]>;

  /**
   * Appends events of another store that follow the one with id `after` there, with ids of this store; once, also when
   * several processes do it: nothing is appended if `after` is not what was returned last for `source`. Resolves to the
   * id, in the other store, of the last event appended; 0: none was. `until`: that id, if it is not of the last of
   * `events`.
   */
  importEvents(
    source: string,
    after: number,
    events: readonly DeviceEvent[],
    until?: number,
  ): Promise<number>;
}

/** Events kept; older ones are dropped. */
export const EVENTS_KEPT = 10_000;
