/**
 * Packets over time, of one device and of all.
 *
 * @module
 */

/** Packets received in one second, minute or hour. */
export interface Period {
  /** When it begins, Unix milliseconds. */
  readonly startMs: number;
  /** Packets counted in it. */
  readonly packets: number;
}

/** Packets over time, oldest first, without gaps; the last period of each list is the current one. */
export interface History {
  /** {@linkcode HISTORY_MINUTES} of them. */
  readonly minutes: readonly Period[];
  /** {@linkcode HISTORY_HOURS} of them. */
  readonly hours: readonly Period[];
}

/** Packets of all devices over time. */
export interface FleetHistory extends History {
  /** {@linkcode HISTORY_SECONDS} of them. */
  readonly seconds: readonly Period[];
}

/** Reads packets over time. */
export interface HistoryStore {
  /**
   * Packets of one device up to `nowMs`, or to its last packet if that is later; undefined if it was never
   * seen. A packet counts at the time its batch was received, but never before one counted earlier.
   */
  history(deviceId: string, nowMs: number): Promise<History | undefined>;

  /** Packets of all devices up to `nowMs`, removed ones included; each counts at the time its batch was received. */
  fleetHistory(nowMs: number): Promise<FleetHistory>;

  /**
   * Deletes the periods of the fleet's history that begin after `untilMs`: the clock was set back, and packets
   * received from now on would be added to those counted there before.
   */
  trimFleetHistory(untilMs: number): Promise<void>;
}

/** Periods of each kind that a history shows, the current one included: 15 minutes, an hour, a day. */
export const HISTORY_SECONDS = 900, HISTORY_MINUTES = 60, HISTORY_HOURS = 24;
