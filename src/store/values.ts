/**
 * What devices measure: the numbers in their payloads, and how they were over time.
 *
 * Values are sampled, counts are exact: of the packets of a device that arrive within {@linkcode SAMPLE_INTERVAL_MS},
 * the payload of the latest is decoded. A sample is stored in the same atomic step as the counts of its packets, as the
 * payload itself; it is decoded and added to the device's values a moment later, once, by whichever process comes first.
 *
 * @module
 */

/** The latest number of one name. */
export interface Value {
  /** 1 to `MAX_NAME_BYTES` bytes of UTF-8; what is nested in a payload has dots, as in `gps.speed`, `axes.0`. */
  readonly name: string;
  /** Finite. A boolean is 1 or 0. */
  readonly value: number;
  /** When the packet that had it was received, server time, Unix milliseconds. */
  readonly atMs: number;
}

/** The latest text of one name. */
export interface Attribute {
  /** As of a {@linkcode Value}. */
  readonly name: string;
  /** At most `MAX_TEXT_BYTES` bytes of UTF-8; may be empty. */
  readonly value: string;
}

/** What a device measured last. */
export interface DeviceValues {
  /** When the latest packet that had any of them was received, server time, Unix milliseconds. */
  readonly atMs: number;
  /** By name, each once; at most as many as the setting allows, in the order in which they were first found. */
  readonly values: readonly Value[];
  /** By name, each once, likewise. */
  readonly attributes: readonly Attribute[];
  /** Names in its latest decoded payload that were left out: there were too many, or they were too long. */
  readonly dropped: number;
}

/** A value over one minute or hour. */
export interface ValuePeriod {
  /** When it begins, Unix milliseconds. */
  readonly startMs: number;
  /** Least of its samples. */
  readonly min: number;
  /** Mean of its samples, each with the same weight. */
  readonly mean: number;
  /** Greatest of its samples. */
  readonly max: number;
}

/**
 * A value over time, oldest first; the last period of each list may be the current one. Periods without a sample are
 * left out. Closed periods are rounded, see `model/value_blocks.ts`.
 */
export interface ValueHistory {
  /** Those of the last {@linkcode VALUE_MINUTES} minutes at least. */
  readonly minutes: readonly ValuePeriod[];
  /** Those of the last {@linkcode VALUE_HOURS} hours at least. */
  readonly hours: readonly ValuePeriod[];
}

/** Which devices have other values. */
export interface ValueChanges {
  /** To be given to the next call; has no meaning elsewhere. */
  readonly cursor: string;
  /**
   * Devices whose values changed since, or that were removed; "all": the changes since are not kept any more, or the
   * store was reverted: read {@linkcode ValueStore.latestValues} of all devices.
   */
  readonly deviceIds: readonly string[] | "all";
}

/** Samples that are stored and not added to the values yet. */
export interface WaitingSamples {
  /** Bytes that they take in the store; at most {@linkcode WAITING_MAX_BYTES}. */
  readonly bytes: number;
  /** Samples that were dropped, ever, because more waited: the oldest first. */
  readonly dropped: number;
}

/** Reads what devices measure. */
export interface ValueStore {
  /** Of these devices, at most `MAX_IDS_PER_CALL`; those without values are left out. */
  latestValues(deviceIds: readonly string[]): Promise<ReadonlyMap<string, DeviceValues>>;

  /** One value over time; undefined if the device does not have it. */
  valueHistory(deviceId: string, name: string): Promise<ValueHistory | undefined>;

  /** Changes after `since`, the cursor of an earlier call; without it, "all". */
  valueChanges(since?: string): Promise<ValueChanges>;

  /** See {@linkcode WaitingSamples}. */
  waitingSamples(): Promise<WaitingSamples>;
}

/** Of the packets of one device that arrive in so long, the latest is decoded. */
export const SAMPLE_INTERVAL_MS = 250;

/** Periods of each kind that a history has, the current one included: an hour, thirty days. */
export const VALUE_MINUTES = 60, VALUE_HOURS = 720;

/** Bytes of samples that may wait in the store, or in each of its shards: a minute of 20,000 packets a second. */
export const WAITING_MAX_BYTES = 64 * 2 ** 20;

/** Bytes kept for {@linkcode ValueStore.valueChanges}: some minutes of 1,000 devices a second with ids of 12 bytes. */
export const FEED_MAX_BYTES = 4 * 2 ** 20;
