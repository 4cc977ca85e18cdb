/**
 * An event as clients of `/events` and the receiver of the webhook get it.
 *
 * @module
 */
import { type HeldLabels, labelsJson } from "../fleet/label_index.ts";
import type { DeviceEvent } from "../store/events.ts";

/** @internal `labels`: those of its device now. */
export function eventJson({ id, kind, deviceId, atMs, lastSeenMs }: DeviceEvent, labels: HeldLabels) {
  return { id, kind, device_id: deviceId, ...labelsJson(labels), at_ms: atMs, last_seen_ms: lastSeenMs };
}
