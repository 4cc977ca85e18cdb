/**
 * Why a packet is refused: `RejectReason` of `proto/telemetry.proto`, by the same numbers.
 *
 * @module
 */

/** See the rules beside each field of `Packet` in the proto. */
export enum RejectReason {
  DEVICE_ID_EMPTY = 1,
  DEVICE_ID_TOO_LONG = 2,
  DEVICE_ID_NOT_UTF8 = 3,
  DEVICE_ID_CONTROL_CHARACTER = 4,
  PAYLOAD_TOO_LARGE = 5,
  TIMESTAMP_NEGATIVE = 6,
  TIMESTAMP_IN_FUTURE = 7,
  DEVICE_NOT_ALLOWED = 8,
  RATE_LIMITED = 9,
  DEVICE_LIMIT = 10,
}
