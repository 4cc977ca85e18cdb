/**
 * Logs values that another program wrote as counts and that are none.
 *
 * @module
 */

/** What is needed of a logger. */
export interface WarningLog {
  /** As logtape's: the names in braces stand for properties. */
  warn(message: string, properties: Record<string, unknown>): void;
}

/** Devices that get a line each; all further ones together get one. */
const MAX_NAMED = 100;

/** Characters of a value that a line of the log shows. */
const SHOWN_CHARACTERS = 100;

/** Logs each device once. */
export class ForeignCounts {
  readonly #named = new Set<string>();
  readonly #log: WarningLog;
  readonly #where: string;

  /** `where`: what holds the counts. */
  constructor(where: string, log: WarningLog) {
    this.#where = where;
    this.#log = log;
  }

  /** A reader found the value: the device is not shown until a packet of it is stored, which sets the value aside. */
  found(deviceId: string, value: string): void {
    this.#warn(
      deviceId,
      value,
      "{where} holds {value} as the count of {device}; expected a whole number from 0 to 2^53 - 1: " +
        "the device is left out until its next packet",
    );
  }

  /** A batch found the value, and it is now in `kept`. */
  setAside(deviceId: string, value: string, kept: string): void {
    this.#warn(
      deviceId,
      value,
      "{where} held {value} as the count of {device}, which no packet can be added to: " +
        "the value is kept in {kept}, and the device's count begins again at 0",
      kept,
    );
  }

  #warn(deviceId: string, value: string, message: string, kept?: string): void {
    const key = `${kept ?? ""} ${deviceId}`;
    if (this.#named.has(key) || this.#named.size > MAX_NAMED) return;
    this.#named.add(key);
    if (this.#named.size > MAX_NAMED) {
      this.#log.warn("{where} holds further counts that are none; they are not named", {
        where: this.#where,
      });
      return;
    }
    const shown = value.slice(0, SHOWN_CHARACTERS);
    this.#log.warn(message, { where: this.#where, device: deviceId, value: shown, kept });
  }
}
