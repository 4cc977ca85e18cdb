/**
 * Devices of several shards, and their histories.
 *
 * @module
 */
import type { Changes, DeviceStore, DeviceSummary } from "../devices.ts";
import type { HistoryStore, Period } from "../history.ts";
import { allSettled } from "./settled.ts";
import { shardOf } from "./shard_of.ts";
import type { VersionNumbers } from "./versions.ts";

type Shard = DeviceStore & HistoryStore;

/** Reads from all of `shards` what is of all devices, and from one what is of one. */
export function shardedDevices(shards: readonly Shard[], numbers: VersionNumbers): Shard {
  const shardWith = (deviceId: string) => shards[shardOf(deviceId, shards.length)]!;
  const all = <T>(call: (shard: Shard, index: number) => Promise<T>) => allSettled(shards.map(call));
  const some = <T>(deviceIds: readonly string[], call: (shard: Shard, deviceIds: string[]) => Promise<T>) => {
    const byShard = Map.groupBy(deviceIds, shardWith);
    return allSettled([...byShard].map(([shard, ids]) => call(shard, ids)));
  };

  return {
    async *scan() {
      for (const shard of shards) yield* shard.scan();
    },

    summaries: async (deviceIds) => (await some(deviceIds, (shard, ids) => shard.summaries(ids))).flat(),

    async changes(since) {
      const known = since === undefined ? undefined : numbers.versions(since);
      return merged(await all((shard, index) => shard.changes(known?.[index])), since, known, numbers);
    },

    device: (deviceId) => shardWith(deviceId).device(deviceId),

    payloads: async (deviceIds, maxBytes) => {
      const found = await some(deviceIds, (shard, ids) => shard.payloads(ids, maxBytes));
      return new Map(found.flatMap((previews) => [...previews]));
    },

    removedPackets: async () => sum(await all((shard) => shard.removedPackets())),
    remove: (deviceId) => shardWith(deviceId).remove(deviceId),

    removeUnseen: async (deviceIds, lastSeenBeforeMs) =>
      sum(await some(deviceIds, (shard, ids) => shard.removeUnseen(ids, lastSeenBeforeMs))),

    history: (deviceId, nowMs) => shardWith(deviceId).history(deviceId, nowMs),

    async fleetHistory(nowMs) {
      const histories = await all((shard) => shard.fleetHistory(nowMs));
      return {
        seconds: sumOfPeriods(histories.map(({ seconds }) => seconds)),
        minutes: sumOfPeriods(histories.map(({ minutes }) => minutes)),
        hours: sumOfPeriods(histories.map(({ hours }) => hours)),
      };
    },

    trimFleetHistory: async (untilMs) => void await all((shard) => shard.trimFleetHistory(untilMs)),
  };
}

function merged(
  changes: readonly Changes[],
  since: number | undefined,
  known: readonly number[] | undefined,
  numbers: VersionNumbers,
): Changes {
  const versions = changes.map(({ version }) => version);
  const isSame = known?.every((version, shard) => version === versions[shard]);
  const version = since !== undefined && isSame ? since : numbers.number(versions);
  const devices = new Map<string, DeviceSummary | undefined>();
  for (const { devices: changed } of changes) {
    if (changed === "all") return { version, devices: "all" };
    for (const [deviceId, summary] of changed) devices.set(deviceId, summary);
  }
  return { version, devices };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

/** The periods of all shards are the same. */
function sumOfPeriods(lists: readonly (readonly Period[])[]): Period[] {
  const [first, ...others] = lists;
  return first!.map(({ startMs, packets }, i) => (
    { startMs, packets: others.reduce((total, list) => total + list[i]!.packets, packets) }
  ));
}
