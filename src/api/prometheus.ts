/**
 * The counts in Prometheus' text exposition format, version 0.0.4.
 *
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 * @module
 */
import type { DeviceCount } from "../store/store.ts";

/** Media type of {@linkcode formatPrometheus}'s text; a scraper chooses its parser by it. */
export const PROMETHEUS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** What stands before the first device. */
export const PROMETHEUS_HEADER: string = `\
# HELP tally_device_packets_total Packets stored, by device.
# TYPE tally_device_packets_total counter
`;

/** One sample line for each device. */
export function formatPrometheus(devices: readonly DeviceCount[]): string {
  let text = "";
  for (const { deviceId, count } of devices) {
    text += `tally_device_packets_total{device_id="${escapeLabelValue(deviceId)}"} ${count}\n`;
  }
  return text;
}

/** A label value stands between quotes: backslash, quote and line feed are escaped, all else is itself. */
export function escapeLabelValue(value: string): string {
  return value.replace(/[\\"\n]/g, (character) => character === "\n" ? "\\n" : `\\${character}`);
}
