/**
 * What a store holds of each device, and which devices changed.
 *
 * @module
 */

/** Packets counted for one device. */
export interface DeviceCount {
  /** 1 to 128 bytes of UTF-8. */
  readonly deviceId: string;
  /** Packets counted since it was first seen. */
  readonly count: number;
}

/** What is stored of one device, except its payload and history. Times are Unix milliseconds. */
export interface DeviceSummary extends DeviceCount {
  /** Server time at which its first packet was received; 0 if another program alone counted it. */
  readonly firstSeenMs: number;
  /** Server time at which its latest packet was received; 0 as above. */
  readonly lastSeenMs: number;
  /**
   * Greatest timestamp the device sent, except those more than `DEVICE_CLOCK_AHEAD_MS` ahead of
   * their arrival, which any later packet replaces; 0 as above.
   */
  readonly timestampMs: number;
  /** False from the "offline" event to the "online" event; true before the first one. */
  readonly online: boolean;
}

/** A summary and the payload that came with the greatest timestamp. */
export interface DeviceState extends DeviceSummary {
  /** As it was received. */
  readonly payload: Uint8Array;
}

/** The first bytes of a payload. */
export interface PayloadPreview {
  /** At most as many as were requested. */
  readonly bytes: Uint8Array;
  /** Length of the whole payload. */
  readonly totalBytes: number;
}

/** Which devices changed. */
export interface Changes {
  /**
   * The store's version now: it rises with every change of a device, and is never used twice, not even by a store
   * that was emptied or reverted to an earlier state, as long as its clock does not go back too.
   */
  readonly version: number;
  /**
   * Devices applied, removed or marked offline after `since`, by id, and their
   * summaries as of `version`; undefined: read {@linkcode DeviceStore.summaries}. "all": `since` is
   * older than the kept changes, or newer than a store that was reverted: {@linkcode DeviceStore.scan} again.
   */
  readonly devices: ReadonlyMap<string, DeviceSummary | undefined> | "all";
  /** True: some shards of the store have not answered in time. Their changes come with a later call. */
  readonly isPartial?: true;
}

/** Reads devices, and removes them. */
export interface DeviceStore {
  /**
   * Every device, in pages; bounded work per page, no device twice, order unspecified. `onPartial` is called if shards
   * of the store could not be read: their devices are missing.
   */
  scan(onPartial?: () => void): AsyncIterable<readonly DeviceSummary[]>;

  /** The devices of these ids, at most {@linkcode MAX_IDS_PER_CALL}, in any order; unknown ones are left out. */
  summaries(deviceIds: readonly string[]): Promise<readonly DeviceSummary[]>;

  /**
   * Changes after version `since`, which an earlier call returned. To read every device: read the version first
   * (without `since`, which returns "all"), then scan, then read the changes since that version.
   */
  changes(since?: number): Promise<Changes>;

  /** One device, or undefined if it was never seen. */
  device(deviceId: string): Promise<DeviceState | undefined>;

  /**
   * The first `maxBytes` bytes of the payloads of these devices, at most {@linkcode MAX_IDS_PER_CALL}; unknown ones, and
   * those of shards that cannot be read, are left out.
   */
  payloads(deviceIds: readonly string[], maxBytes: number): Promise<ReadonlyMap<string, PayloadPreview>>;

  /** Packets that were counted for devices removed since, each as of its removal. */
  removedPackets(): Promise<number>;

  /**
   * Deletes a device; true if it existed. Its next packet counts from 0. What remains of it are entries with its id in
   * the events and the changes, until newer ones displace them: readers follow both by number, without gaps.
   */
  remove(deviceId: string): Promise<boolean>;

  /**
   * Deletes those of the devices, at most {@linkcode MAX_IDS_PER_CALL}, that were seen, and last before
   * `lastSeenBeforeMs`; resolves to their number. One that has been seen again meanwhile stays.
   */
  removeUnseen(deviceIds: readonly string[], lastSeenBeforeMs: number): Promise<number>;
}

/** A time further ahead of the store's clock was written before that clock was set back. */
export const CLOCK_AHEAD_MS = 5_000;

/** Devices per call: some milliseconds of the store's time. */
export const MAX_IDS_PER_CALL = 1000;

/**
 * Bytes kept for {@linkcode DeviceStore.changes}: in Redis, which keeps summaries beside the ids, 2.7 seconds of
 * 100,000 devices a second with ids of 12 bytes; in SQLite, 11 seconds. A reader that is further back scans.
 */
export const CHANGES_MAX_BYTES = 16 * 2 ** 20;
