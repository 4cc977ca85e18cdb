/**
 * The ids that an identity covers.
 *
 * @module
 */
import { MAX_DEVICE_ID_BYTES } from "../protocol/field_limits.ts";
import type { DeviceIdentity } from "./identity.ts";

/** Completes "use …", for messages about text that is neither an id nor a pattern. */
export const DEVICE_PATTERN_RULE =
  `a device id of 1 to ${MAX_DEVICE_ID_BYTES} bytes without control characters, or the beginning of ids and *`;

/** Whether `text` is a device id, or the beginning of ids followed by `*`. */
export function isDevicePattern(text: string): boolean {
  const id = text.endsWith("*") && text.length > 1 ? text.slice(0, -1) : text;
  return id !== "" && id.isWellFormed() && !/\p{Cc}/u.test(id) &&
    new TextEncoder().encode(id).length <= MAX_DEVICE_ID_BYTES;
}

/** The ids and patterns of an identity, for a check per device. */
export class CoveredDevices {
  readonly #ids = new Set<string>();
  readonly #prefixes: string[] = [];

  /** `patterns`: ids, and beginnings of ids followed by `*`. */
  constructor(patterns: readonly string[]) {
    for (const pattern of patterns) {
      if (pattern.endsWith("*")) this.#prefixes.push(pattern.slice(0, -1));
      else this.#ids.add(pattern);
    }
  }

  /** Whether the id is covered. */
  has(deviceId: string): boolean {
    return this.#ids.has(deviceId) || this.#prefixes.some((prefix) => deviceId.startsWith(prefix));
  }
}

/** One for all streams of an identity. */
const covered = new WeakMap<DeviceIdentity, CoveredDevices>();

/** The devices of an identity; undefined: every device. */
export function coveredDevices(identity: DeviceIdentity): CoveredDevices | undefined {
  if (identity.devices.includes("*")) return undefined;
  let devices = covered.get(identity);
  if (devices === undefined) covered.set(identity, devices = new CoveredDevices(identity.devices));
  return devices;
}
