/**
 * Devices as JSON: what the index has, and the payload from the store.
 *
 * @module
 */
import { Buffer, isUtf8 } from "node:buffer";

import type { DeviceView } from "../../fleet/device_view.ts";
import { type HeldLabels, type LabelIndex, labelsJson } from "../../fleet/label_index.ts";
import type { PayloadPreview } from "../../store/devices.ts";
import { DEVICE_CLOCK_AHEAD_MS } from "../../store/packets.ts";
import type { Store } from "../../store/store.ts";
import type { Device, LiveDevice } from "../schemas/device.ts";
import { valuesJson } from "./value_json.ts";

/** Bytes of a payload in a list: some lines on a screen. */
export const PREVIEW_BYTES = 200;

/** In the order of `views`, with previews of the payloads. Rejects as the store does. */
export async function deviceListJson(
  store: Pick<Store, "payloads">,
  labels: LabelIndex,
  views: readonly DeviceView[],
): Promise<Device[]> {
  if (views.length === 0) return [];
  const payloads = await store.payloads(views.map(({ deviceId }) => deviceId), PREVIEW_BYTES);
  return views.map((view) =>
    deviceJson(view, labels.of(view.deviceId), payloads.get(view.deviceId) ?? noPayload)
  );
}

/** The same with the values of each. */
export async function liveDevicesJson(
  store: Pick<Store, "payloads" | "latestValues">,
  labels: LabelIndex,
  views: readonly DeviceView[],
): Promise<LiveDevice[]> {
  const [devices, values] = await Promise.all([
    deviceListJson(store, labels, views),
    store.latestValues(views.map(({ deviceId }) => deviceId)),
  ]);
  return devices.map((device) => ({ ...device, ...valuesJson(values.get(device.device_id)) }));
}

/** One device, with its payload or the beginning of it. */
export function deviceJson(view: DeviceView, labels: HeldLabels, payload: PayloadPreview): Device {
  return {
    device_id: view.deviceId,
    ...labelsJson(labels),
    status: view.online ? "online" : "offline",
    count: view.count,
    rate_10s: view.rate10s,
    rate_1m: view.rate1m,
    interval_ms: view.intervalMs,
    first_seen_ms: view.firstSeenMs,
    last_seen_ms: view.lastSeenMs,
    timestamp_ms: view.timestampMs,
    clock_ahead_ms: clockAheadMs(view),
    payload: payloadJson(payload),
  };
}

/** How far the device's clock was ahead when its packet came; 0 where that is no more than a minute. */
function clockAheadMs({ timestampMs, lastSeenMs }: DeviceView): number {
  const aheadMs = timestampMs - lastSeenMs;
  return lastSeenMs > 0 && aheadMs > DEVICE_CLOCK_AHEAD_MS ? aheadMs : 0;
}

const noPayload: PayloadPreview = { bytes: new Uint8Array(), totalBytes: 0 };

/** A payload, or the beginning of one. */
export function payloadJson({ bytes, totalBytes }: PayloadPreview): Device["payload"] {
  const truncated = bytes.length < totalBytes;
  const whole = truncated ? withoutCutCharacter(bytes) : bytes;
  const buffer = Buffer.from(whole.buffer, whole.byteOffset, whole.length);
  return isUtf8(whole)
    ? { bytes: totalBytes, text: buffer.toString("utf8"), base64: null, truncated }
    : { bytes: totalBytes, text: null, base64: Buffer.from(bytes).toString("base64"), truncated };
}

/** The same without its last character where the cut may have gone through it. */
function withoutCutCharacter(bytes: Uint8Array): Uint8Array {
  for (let back = 1; back <= Math.min(4, bytes.length); back++) {
    const byte = bytes[bytes.length - back]!;
    if ((byte & 0xc0) === 0x80) continue; // Not the first byte of a character.
    const length = byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
    return length > back ? bytes.subarray(0, bytes.length - back) : bytes;
  }
  return bytes;
}
