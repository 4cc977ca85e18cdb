/**
 * Changes of several shards.
 *
 * @module
 */
import type { Clock } from "../../runtime/clock.ts";
import type { Changes, DeviceSummary } from "../devices.ts";
import type { ShardReads } from "./shard_reads.ts";
import type { VersionNumbers } from "./versions.ts";

/** What came too late for the read that requested it is of use so long, ms. */
const REUSE_MS = 1_000;

/** The version of a shard that has not been read. */
const UNREAD = -1;

interface Pending {
  readonly since: number | undefined;
  readonly changes: Promise<Changes>;
  settledAtMs: number | undefined;
}

/** Reads what changed in one shard: as {@linkcode DeviceStore.changes}, or a list like it. */
export type ReadChanges<Shard> = (shard: Shard, since: number | undefined) => Promise<Changes>;

/** As {@linkcode DeviceStore.changes}; a late shard's come with a later call. */
export class ShardedChanges<Shard> {
  readonly #reads: ShardReads<Shard>;
  readonly #readChanges: ReadChanges<Shard>;
  readonly #numbers: VersionNumbers;
  readonly #clock: Clock;
  /** Of late shards: one that takes longer than a read waits would never get further. */
  readonly #pending: (Pending | undefined)[] = [];

  /** Reads nothing yet. */
  constructor(
    reads: ShardReads<Shard>,
    numbers: VersionNumbers,
    clock: Clock,
    readChanges: ReadChanges<Shard>,
  ) {
    this.#reads = reads;
    this.#readChanges = readChanges;
    this.#numbers = numbers;
    this.#clock = clock;
  }

  /** See {@linkcode DeviceStore.changes}. */
  async read(since?: number): Promise<Changes> {
    const known = since === undefined ? undefined : this.#numbers.versions(since);
    const changes = await this.#reads.all(async (shard, index) => {
      const version = known?.[index];
      const pending = this.#request(shard, index, version === UNREAD ? undefined : version);
      const found = await pending.changes;
      if (this.#pending[index] === pending) this.#pending[index] = undefined;
      return found;
    });
    const versions = changes.map((found, index) => found?.version ?? known?.[index] ?? UNREAD);
    const isSame = known?.every((version, index) => version === versions[index]);
    const isPartial = changes.includes(undefined);
    return {
      version: since !== undefined && isSame ? since : this.#numbers.number(versions),
      devices: merge(changes),
      ...isPartial ? { isPartial } : {},
    };
  }

  #request(shard: Shard, index: number, since: number | undefined): Pending {
    const before = this.#pending[index];
    const nowMs = this.#clock.monotonicMs();
    const isOld = before?.settledAtMs !== undefined && nowMs - before.settledAtMs > REUSE_MS;
    if (before !== undefined && before.since === since && !isOld) return before;
    const pending: Pending = { since, changes: this.#readChanges(shard, since), settledAtMs: undefined };
    pending.changes.then(
      () => pending.settledAtMs = this.#clock.monotonicMs(),
      () => {
        if (this.#pending[index] === pending) this.#pending[index] = undefined;
      },
    );
    return this.#pending[index] = pending;
  }
}

function merge(changes: readonly (Changes | undefined)[]): Changes["devices"] {
  const devices = new Map<string, DeviceSummary | undefined>();
  for (const found of changes) {
    if (found === undefined) continue;
    if (found.devices === "all") return "all";
    for (const [deviceId, summary] of found.devices) devices.set(deviceId, summary);
  }
  return devices;
}
