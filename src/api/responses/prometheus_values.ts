/**
 * What devices measure in Prometheus's text exposition format.
 *
 * @module
 */
import type { DeviceIndex } from "../../fleet/device_index.ts";
import type { FleetValues } from "../../fleet/fleet_values.ts";
import { escapeLabelValue, family, metric } from "../../metrics/prometheus_text.ts";
import type { WaitingSamples } from "../../store/values.ts";
import type { PrometheusContents } from "./prometheus.ts";

/** What there is of values. */
export interface ValueContents {
  /** Has the slots of devices. */
  readonly index: DeviceIndex;
  /** Has their values. */
  readonly values: FleetValues;
  /** What waits. */
  readonly waiting: WaitingSamples;
}

/** Series of values for each device that may have series of its own, at most, on average. */
const SERIES_PER_DEVICE = 4;

/** Of the devices that have series of their own, the first by id while there is room; piece by piece. */
export function* formatValues(
  { index, values, waiting }: ValueContents,
  { devices, prometheusMaxDevices }: PrometheusContents,
): Generator<string> {
  const shown = Math.min(devices.ids.length, prometheusMaxDevices), maxSeries = shown * SERIES_PER_DEVICE;
  const columns = values.names().map(({ name }) => {
    return { label: `name="${escapeLabelValue(name)}"`, valueAt: values.reader(name) };
  });
  let series = 0, omitted = values.omitted;
  yield family("tally_device_value", "gauge", "Latest number of a name in the payloads, by device.");
  for (const [i, id] of devices.ids.entries()) {
    const slot = index.slotOf(id);
    if (slot === undefined) continue;
    const label = `device_id="${escapeLabelValue(id)}"`;
    let rows = "";
    for (const column of columns) {
      const value = column.valueAt(slot);
      if (value === undefined) continue;
      if (i >= shown || series >= maxSeries) omitted++;
      else {
        rows += `tally_device_value{${label},${column.label}} ${value}\n`;
        series++;
      }
    }
    if (rows !== "") yield rows;
  }
  yield metric("tally_device_values_omitted", "gauge", "Values without series, for there are too many.", [
    ["", omitted],
  ]);
  yield metric(
    "tally_samples_waiting_bytes",
    "gauge",
    "Payloads that are stored and not added to the values yet.",
    [["", waiting.bytes]],
  );
  yield metric(
    "tally_samples_dropped_total",
    "counter",
    "Payloads that were not added to the values because too many waited.",
    [["", waiting.dropped]],
  );
}
