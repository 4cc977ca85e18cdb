/**
 * Tally's figures in Prometheus's text exposition format, version 0.0.4.
 *
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 * @module
 */
import type { DeviceCounts } from "../../fleet/device_view.ts";
import type { TagFigures } from "../../fleet/tag_figures.ts";
import { apiMetrics, type ApiReport } from "../../metrics/api_metrics.ts";
import type { InstanceReport } from "../../metrics/ingest_metrics.ts";
import { formatTable } from "../../metrics/metric_families.ts";
import { formatProcessReport, type ProcessReport } from "../../metrics/process_metrics.ts";
import { escapeLabelValue, family, metric } from "../../metrics/prometheus_text.ts";
import type { ShardReport } from "../../store/store.ts";
import type { StoreHealth } from "../../store/store_clock.ts";
import { formatInstances } from "./instance_metrics.ts";

/** What the store has. */
export interface PrometheusContents {
  /** Every device. */
  readonly devices: DeviceCounts;
  /** How many of them are online. */
  readonly online: number;
  /** Devices with series of their own, the first by id: each one more costs the scraper memory for weeks. */
  readonly prometheusMaxDevices: number;
  /** Labels of a device's series besides its id, as text: `,tag_site="oslo"`; "" if there are none. */
  readonly deviceLabels: (deviceId: string) => string;
  /** Figures of the tags that have series of their own. */
  readonly tags: readonly TagFigures[];
  /** The ingest processes at work. */
  readonly instances: readonly InstanceReport[];
  /** The shards of the store; none if it is one. */
  readonly shards: readonly ShardReport[];
  /** What is reported of the store and the clock. */
  readonly storeHealth: StoreHealth;
}

/** The metrics that come from the store, piece by piece; {@linkcode formatProcess} has the rest. */
export function* formatPrometheus(contents: PrometheusContents): Generator<string> {
  const { devices, online, prometheusMaxDevices, deviceLabels, tags, instances, shards, storeHealth } =
    contents;
  const shown = Math.min(devices.ids.length, prometheusMaxDevices);
  yield family("tally_device_packets_total", "counter", "Packets stored, by device.");
  const labels = devices.ids.slice(0, shown).map((id) =>
    `{device_id="${escapeLabelValue(id)}"${deviceLabels(id)}}`
  );
  for (let i = 0; i < shown; i++) yield `tally_device_packets_total${labels[i]} ${devices.counts[i]}\n`;
  yield family(
    "tally_device_last_seen_timestamp_seconds",
    "gauge",
    "When the latest packet came, by device.",
  );
  for (let i = 0; i < shown; i++) {
    yield `tally_device_last_seen_timestamp_seconds${labels[i]} ${devices.lastSeenMs[i]! / 1_000}\n`;
  }
  yield metric("tally_packets_total", "counter", "Packets stored of all devices, removed ones too.", [
    ["", devices.packetsEver],
  ]);
  yield metric("tally_devices", "gauge", "Devices known, by status.", [
    ['status="online"', online],
    ['status="offline"', devices.ids.length - online],
  ]);
  yield metric(
    "tally_devices_omitted",
    "gauge",
    "Devices without series of their own, for there are too many.",
    [["", devices.ids.length - shown]],
  );
  yield* formatTags(tags);
  yield* formatStoreHealth(storeHealth);
  yield* formatShards(shards);
  yield* formatInstances(instances);
}

/** The metrics of the api's own process; `storeUp`: whether it can read the store. */
export function formatProcess(process: ProcessReport, own: ApiReport, storeUp: boolean): string {
  return [
    metric("tally_store_up", "gauge", "1 where the store could be read for this answer, else 0.", [
      ["", storeUp ? 1 : 0],
    ]),
    ...formatProcessReport(process),
    ...formatTable("tally_api_", apiMetrics, [["", own]]),
  ].join("");
}

/** Name of the label that has the value of a tag: those of other origins, such as `instance`, are not hidden. */
export function tagLabel(key: string): string {
  return `tag_${key.replace(/[.-]/g, "_")}`;
}

function* formatTags(tags: readonly TagFigures[]): Generator<string> {
  if (tags.length === 0) return;
  const labels = ({ tag: { key, value } }: TagFigures) => `key="${key}",value="${escapeLabelValue(value)}"`;
  yield metric(
    "tally_tag_devices",
    "gauge",
    "Devices with a tag, by status.",
    tags.flatMap((sums): [string, number][] => [
      [`${labels(sums)},status="online"`, sums.online],
      [`${labels(sums)},status="offline"`, sums.devices - sums.online],
    ]),
  );
  yield metric(
    "tally_tag_packets",
    "gauge",
    "Packets stored of the devices that have a tag now.",
    tags.map((sums) => [labels(sums), sums.count]),
  );
}

function* formatShards(shards: readonly ShardReport[]): Generator<string> {
  if (shards.length === 0) return;
  const of = (value: (shard: ShardReport) => number | undefined) =>
    shards.flatMap((shard, i): [string, number][] => {
      const found = value(shard);
      return found === undefined ? [] : [[`shard="${i}"`, found]];
    });
  yield metric(
    "tally_store_shard_up",
    "gauge",
    "1 if the shard of the store answers, else 0: its devices are as they were.",
    of(({ lateSinceMs }) => lateSinceMs === undefined ? 1 : 0),
  );
  yield metric("tally_store_shard_devices", "gauge", "Devices in the shard.", of(({ devices }) => devices));
  yield metric(
    "tally_store_shard_memory_bytes",
    "gauge",
    "Memory that the server of the shard uses, for other shards on it too.",
    of(({ memoryBytes }) => memoryBytes),
  );
  yield metric(
    "tally_store_shard_counts_late_seconds",
    "gauge",
    "As tally_counts_late_seconds, of the shard.",
    of(({ countsLateMs }) => countsLateMs === undefined ? undefined : countsLateMs / 1_000),
  );
}

function* formatStoreHealth({ evictionPolicy, clockAheadMs, countsLateMs }: StoreHealth): Generator<string> {
  const policy = evictionPolicy === undefined ? "noeviction" : escapeLabelValue(evictionPolicy);
  yield metric(
    "tally_store_may_evict",
    "gauge",
    "1 if the store evicts counts when its memory is full, else 0.",
    [[`policy="${policy}"`, evictionPolicy === undefined ? 0 : 1]],
  );
  yield metric("tally_clock_ahead_seconds", "gauge", "How far the api's clock is ahead of the store's.", [
    ["", clockAheadMs / 1_000],
  ]);
  yield metric(
    "tally_counts_late_seconds",
    "gauge",
    "Age of the oldest packets that are stored and not in the counts of their devices yet; 0 if all are.",
    [["", countsLateMs / 1_000]],
  );
}
