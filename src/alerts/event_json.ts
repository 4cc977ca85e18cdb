/**
 * An event as clients of `/events` and the receiver of the webhook get it.
 *
 * @module
 */
import type { DeviceEvent } from "../store/events.ts";

/** @internal */
export function eventJson({ id, kind, deviceId, atMs, lastSeenMs }: DeviceEvent) {
  return { id, kind, device_id: deviceId, at_ms: atMs, last_seen_ms: lastSeenMs };
}
