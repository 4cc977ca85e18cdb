/**
 * Names of Tally's keys in Redis. All of one shard share a hash tag, so that a Redis Cluster keeps whatever one script
 * touches in one slot.
 *
 * With one shard the tag is `{device_metrics}`. With N shards that of shard i is `{<i>-<n>}`, where n is the
 * smallest number from 0 on that puts the tag's slot into the middle half of the i-th N-th of all slots. So shards are
 * spread over the slots as evenly as masters are, also after slots have moved.
 *
 * @module
 */
import type { AlertDocumentKind, AlertSection } from "../alerts.ts";
import type { PeriodKind } from "../model/periods.ts";
import { CLUSTER_SLOTS, clusterSlot } from "./cluster_slots.ts";

/** Keys of one shard. */
export interface ShardKeys {
  /** The slot of a Redis Cluster that all of them are in. */
  readonly slot: number;

  /**
   * HASH device id → packets counted, in plain decimal. Other programs read this one. `device_metrics`; of one of many
   * shards `device_metrics:{<i>-<n>}`.
   */
  readonly counts: string;

  /** STRING `LAYOUT_VERSION` of the program that wrote all other keys, or upgraded them; checked by every script. */
  readonly layout: string;

  /** HASH device id → its record, followed by a short payload: `recordLayout`. */
  readonly records: string;

  /** HASH device id → latest payload, as received, of devices whose latest is longer than `SHORT_PAYLOAD_BYTES`. */
  readonly payloads: string;

  /** HASH device id → packets of its closed minutes and hours: `historyHead`, see `periods.ts`. */
  readonly histories: string;

  /** STRING packets that were counted for devices removed since, in plain decimal. */
  readonly removed: string;

  /** HASH device id → what another program wrote as its count, of devices whose count could not be added to. */
  readonly setAside: string;

  /**
   * STRING `<began> <reverted>`: when the data began and when it was last found reverted, Unix ms; 0: unknown,
   * never.
   */
  readonly lineage: string;

  /** Never exists after a script: scripts check on it which commands they may run. */
  readonly nothing: string;

  /** HASH device id → record and payload as text, in layout 1: `upgrade.lua` empties it. */
  readonly textRecords: string;

  /** STRING `<version> <bytes>`: version of the newest entry of {@linkcode ShardKeys.changes}, and the list's bytes. */
  readonly version: string;

  /** LIST of changed devices, one entry per version, newest last: `versionHead` and `changesHead`. */
  readonly changes: string;

  /** LIST of `<id> online|offline <at> <last seen> <device id>`, newest last. */
  readonly events: string;

  /** HASH another shard → id, in its own list, of the last of its events that was appended to this one. */
  readonly imports: string;

  /** STRING owner of the lease to deliver events; expires with it. */
  readonly deliveryOwner: string;

  /** STRING id of the last event delivered. */
  readonly delivered: string;

  /** HASH instance → `<reported, Unix ms> <report as JSON>`. */
  readonly instances: string;

  /** HASH SHA-256 of a token → its record as JSON. */
  readonly tokens: string;

  /** ZSET `<kind> <id> <SHA-256>` of each token, all with score 0: in the order of their ids. */
  readonly tokenIds: string;

  /** HASH SHA-256 of a token → when it was used last, Unix ms. */
  readonly tokenUses: string;

  /** STRING Unix time in microseconds, never the same twice, of the last change of tokens. */
  readonly tokensVersion: string;

  /** LIST of `<id> <entry as JSON>`, newest last. */
  readonly audit: string;

  /** HASH device id → its name and tags: `model/labels.ts`. Also of devices that have not been seen yet. */
  readonly labels: string;

  /** HASH device id → notes about it; each has {@linkcode ShardKeys.labels} too. */
  readonly notes: string;

  /** STRING as {@linkcode ShardKeys.version}, of {@linkcode ShardKeys.labelChanges}. */
  readonly labelsVersion: string;

  /** LIST as {@linkcode ShardKeys.changes}, of devices whose labels changed. */
  readonly labelChanges: string;
  /** STRING owner of the lease to evaluate rules of alerts; expires with it. */
  readonly alertsOwner: string;

  /** STRING Unix time in microseconds, never the same twice, of the last change of a rule, mute or acknowledgement. */
  readonly alertDocumentsVersion: string;

  /** STRING the same, of the last change of the state of alerts. */
  readonly alertStateVersion: string;

  /**
   * HASH of one kind of document: id → `<version> <JSON>`; or of one section of the state of alerts: field → JSON.
   */
  alerts(part: AlertDocumentKind | AlertSection): string;

  /** STRING written to check that the server accepts writes; expires at once. */
  readonly probe: string;

  /** STRING `<minute since 1970> <devices>`: devices that were added in the latest minute in which one was. */
  readonly newDevices: string;

  /** LIST of sessions by their names, each where there is still a key for it, and some that have expired. */
  readonly sessions: string;

  /**
   * STREAM of entries with the fields `device` (id), `received` (Unix ms) and `packets` (a `PacketBatch` of the proto), in
   * this order. Other programs read this one. `tally:{device_metrics}:packets`, or `tally:{<i>-<n>}:packets`.
   */
  readonly packetStream: string;

  /** STRING `<epoch> <committed>` of one session; expires when unused. */
  session(session: string): string;

  /**
   * STRING last sequence applied of one producer; expires when unused. After it, separated by spaces, the limit that
   * refused devices of that batch, and their indexes in it, if one did.
   */
  producer(producer: string): string;

  /** STRING how many devices were removed, ever. */
  readonly removals: string;

  /** LIST `idHash` of the devices that were removed last, newest last. */
  readonly removedHashes: string;

  /** LIST samples that are not added to the values yet: `samples.lua`. */
  readonly samples: string;

  /** STRING state of {@linkcode ShardKeys.samples} and {@linkcode ShardKeys.valueFeed}. */
  readonly sampleState: string;

  /** STRING process that adds samples to the values; expires. */
  readonly sampleOwner: string;

  /** LIST of devices whose values changed, newest last. */
  readonly valueFeed: string;

  /** HASH device id → its latest values and running periods: `encodeRecord`. */
  readonly values: string;

  /** HASH device id → closed minutes of its values: `historyWith`. */
  readonly valueMinutes: string;

  /** HASH device id → closed hours of its values. */
  readonly valueHours: string;

  /** HASH log → `<lease> <oldest>` of segment logs that are not empty: see `segments.lua`. */
  readonly logs: string;

  /** HASH of one segment log: `segments.lua` lists its fields. */
  log(name: string): string;

  /** STRING one segment: `packSegment`. */
  segment(name: string): string;

  /**
   * HASH number of the period since 1970 → packets of all devices; expires when it is over. The seconds of
   * one minute share a key, the minutes of one hour, the hours of one day.
   */
  fleet(period: PeriodKind["name"], atMs: number): string;
}

/** The hash tag of a store that has one shard, and the name of the hash that other programs read. */
const PLAIN_TAG = "device_metrics";

/** STRING shards of the data, in plain decimal, chosen by the first process that writes. In the slot of a store with one shard. */
export const shardCountKey: string = `tally:{${PLAIN_TAG}}:shards`;

/** The keys of shard `shard`, from 0 on, of a store with so many `shards`. */
export function shardKeys(shard = 0, shards = 1): ShardKeys {
  const tag = shards === 1 ? PLAIN_TAG : shardTag(shard, shards);
  const prefix = `tally:{${tag}}:`;
  return {
    slot: clusterSlot(tag),
    counts: shards === 1 ? PLAIN_TAG : `${PLAIN_TAG}:{${tag}}`,
    layout: `${prefix}layout`,
    records: `${prefix}records`,
    payloads: `${prefix}payloads`,
    histories: `${prefix}histories`,
    removed: `${prefix}removed`,
    setAside: `${prefix}set-aside`,
    lineage: `${prefix}lineage`,
    nothing: `${prefix}nothing`,
    textRecords: `${prefix}devices`,
    version: `${prefix}version`,
    changes: `${prefix}changes`,
    events: `${prefix}events`,
    imports: `${prefix}events:imported`,
    deliveryOwner: `${prefix}delivery:owner`,
    delivered: `${prefix}delivery:event`,
    instances: `${prefix}instances`,
    tokens: `${prefix}tokens`,
    tokenIds: `${prefix}token-ids`,
    tokenUses: `${prefix}token-uses`,
    tokensVersion: `${prefix}tokens-version`,
    audit: `${prefix}audit`,
    labels: `${prefix}labels`,
    notes: `${prefix}notes`,
    labelsVersion: `${prefix}labels-version`,
    labelChanges: `${prefix}label-changes`,
    alertsOwner: `${prefix}alerts:owner`,
    alertDocumentsVersion: `${prefix}alerts:documents-version`,
    alertStateVersion: `${prefix}alerts:state-version`,
    alerts: (part) => `${prefix}alerts:${part}`,
    probe: `${prefix}probe`,
    newDevices: `${prefix}new-devices`,
    sessions: `${prefix}sessions`,
    packetStream: `${prefix}packets`,
    session: (session) => `${prefix}session:${session}`,
    producer: (producer) => `${prefix}producer:${producer}`,
    removals: `${prefix}removals`,
    removedHashes: `${prefix}removed-hashes`,
    samples: `${prefix}samples`,
    sampleState: `${prefix}samples:state`,
    sampleOwner: `${prefix}samples:owner`,
    valueFeed: `${prefix}values:feed`,
    values: `${prefix}values`,
    valueMinutes: `${prefix}values:minutes`,
    valueHours: `${prefix}values:hours`,
    logs: `${prefix}logs`,
    log: (name) => `${prefix}log:${name}`,
    segment: (name) => `${prefix}segment:${name}`,
    fleet: (period, atMs) => `${prefix}fleet:${period}:${Math.floor(atMs / fleetKeySpansMs[period])}`,
  };
}

function shardTag(shard: number, shards: number): string {
  const width = CLUSTER_SLOTS / shards;
  const first = (shard + 0.25) * width, end = (shard + 0.75) * width;
  for (let n = 0;; n++) {
    const tag = `${shard}-${n}`, slot = clusterSlot(tag);
    if (slot >= first && slot < end) return tag;
  }
}

/** The time one key of {@linkcode ShardKeys.fleet} spans. */
export const fleetKeySpansMs: Readonly<Record<PeriodKind["name"], number>> = {
  second: 60_000,
  minute: 3_600_000,
  hour: 24 * 3_600_000,
};
