/**
 * The messages of `proto/telemetry.proto` as objects, by the proto's names.
 *
 * @module
 */

/** A packet as a device sends it. */
export interface Packet {
  /** The sending device: 1 to 128 bytes of UTF-8 without control characters. */
  readonly device_id: string;
  /** Unix time in s, ms, µs or ns, distinguished by magnitude; 0: the time of arrival, by Tally's clock. */
  readonly timestamp: number;
  /** Any bytes, 64 KiB at most unless the operator set another limit. */
  readonly payload: Uint8Array;
}

/** How many of a stream's packets are settled, and how. */
export interface Ack {
  /** True. */
  readonly ok: boolean;
  /** Packets counted by this stream. */
  readonly stored: number;
  /** Packets that the session had stored before. */
  readonly duplicates: number;
  /** Packets rejected. */
  readonly rejected: number;
  /** Index of the first packet that is not settled. */
  readonly committed: number;
  /** Rejected packets by `RejectReason`. */
  readonly rejections: readonly { readonly reason: number; readonly packets: number }[];
}
