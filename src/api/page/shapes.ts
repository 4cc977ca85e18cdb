/**
 * The api's JSON as the page reads it; types only, never served. Times are Unix milliseconds, rates packets/s.
 *
 * @module
 */

/** One payload, or its beginning. */
export interface Payload {
  /** Length of the whole payload. */
  readonly bytes: number;
  /** Null unless it is UTF-8. */
  readonly text: string | null;
  /** Null if it is UTF-8. */
  readonly base64: string | null;
  /** True if `text` or `base64` is only the beginning. */
  readonly truncated: boolean;
}

/** A device of `/devices`, `/devices/{id}` and `/live`. */
export interface DeviceRow {
  readonly device_id: string;
  readonly status: "online" | "offline";
  readonly count: number;
  /** Null as long as the api runs for less than ten seconds. */
  readonly rate_10s: number | null;
  readonly rate_1m: number | null;
  readonly first_seen_ms: number;
  readonly last_seen_ms: number;
  /** What the device's own clock said. */
  readonly timestamp_ms: number;
  readonly payload: Payload;
}

/** `/devices`. */
export interface DevicePage {
  readonly devices: readonly DeviceRow[];
  /** Devices on all pages. */
  readonly total: number;
  readonly next_cursor: string | null;
}

/** Packets stored in one second, minute or hour. */
export interface HistoryPoint {
  readonly start_ms: number;
  readonly packets: number;
}

/** `/devices/{id}/history`; oldest first, without gaps. */
export interface DeviceHistory {
  readonly minutes: readonly HistoryPoint[];
  readonly hours: readonly HistoryPoint[];
}

/** An ingest instance's report of itself. */
export interface Instance {
  readonly instance: string;
  readonly host: string;
  readonly pid: number;
  readonly worker: number;
  readonly reported_ms: number;
  readonly rate: number;
  readonly streams: number;
  readonly queue_packets: number;
  readonly queue_max_packets: number;
  readonly rejected: Readonly<Record<string, number>>;
  readonly ingest_address: string;
}

/** What `/fleet` and each `fleet` frame of `/live` have in common. */
export interface Fleet {
  readonly now_ms: number;
  readonly devices: number;
  readonly online: number;
  readonly offline: number;
  readonly count: number;
  readonly rate_10s: number | null;
  readonly rate_1m: number | null;
  readonly offline_after_ms: number;
  readonly store: { readonly description: string; readonly ok: boolean };
  readonly instances: readonly Instance[];
}

/** A `fleet` frame of `/live`. */
export interface FleetFrame extends Fleet {
  /** The newest seconds only. */
  readonly seconds: readonly HistoryPoint[];
}

/** `/fleet`. */
export interface FleetReport extends Fleet {
  readonly history: DeviceHistory & { readonly seconds: readonly HistoryPoint[] };
}
