/**
 * Tags in Prometheus's text format: labels of devices, and figures of their own.
 *
 * @module
 */
import type { FleetCache } from "../../fleet/fleet_cache.ts";
import type { TagReport } from "../../fleet/tag_figures.ts";
import { escapeLabelValue } from "../../metrics/prometheus_text.ts";
import { type PrometheusContents, tagLabel } from "./prometheus.ts";

/** Tags of one key with series of their own, those with most devices. */
const MAX_VALUES = 1_000;

/** What {@linkcode prometheusTags} needs. */
export interface PrometheusTagsOptions {
  /** Has the tags. */
  readonly fleet: FleetCache;
  /** Has their figures. */
  readonly tagReport: TagReport;
  /** Keys of the tags that are shown; default none. */
  readonly prometheusTags?: readonly string[] | undefined;
}

/** What the tags add to the metrics of the store. */
export function prometheusTags(
  { fleet, tagReport, prometheusTags: keys = [] }: PrometheusTagsOptions,
): Pick<PrometheusContents, "deviceLabels" | "tags"> {
  if (keys.length === 0) return { deviceLabels: () => "", tags: [] };
  const names = new Map(keys.map((key) => [key, tagLabel(key)]));
  const figures = tagReport.figures();
  return {
    deviceLabels(deviceId) {
      let labels = "";
      for (const { key, value } of fleet.labels.of(deviceId).tags) {
        const name = names.get(key);
        if (name !== undefined) labels += `,${name}="${escapeLabelValue(value)}"`;
      }
      return labels;
    },
    tags: keys.flatMap((key) => figures.get(key)?.slice(0, MAX_VALUES) ?? []),
  };
}
