/**
 * Events of several shards, as one list.
 *
 * Each shard writes the events of its devices in the step that changes them. Each process that reads events, or looks for
 * offline devices, appends those of the other shards to the list of the first one, whose ids have no gaps: readers and
 * the delivery follow that list. Events of one device are in their order, those of different shards in the order in which
 * they were found, about a second apart at most.
 *
 * @module
 */
import { MAX_IDS_PER_CALL } from "../devices.ts";
import type { EventStore } from "../events.ts";
import type { DeliveryLease } from "../lease.ts";
import { StoreError } from "../store_error.ts";
import { someOf } from "./settled.ts";
import { shardOf } from "./shard_of.ts";
import type { ShardReads } from "./shard_reads.ts";

/** Events appended at a time. */
const PAGE_EVENTS = MAX_IDS_PER_CALL;

/** Events of the shards; the first has the list, and the lease. */
export function shardedEvents(reads: ShardReads<EventStore & DeliveryLease>): EventStore & DeliveryLease {
  const { shards } = reads, first = shards[0]!;
  /** Where the import from each shard ended, as far as this process knows. */
  const imported = shards.map(() => 0);
  const importAll = async () => {
    await Promise.all(
      shards.slice(1).map(async (_, i) => {
        const index = i + 1, source = `shard ${index}`;
        try {
          imported[index] = await reads.read(
            index,
            (shard) => importFrom(first, shard, source, imported[index]!),
          );
        } catch (error) {
          // Its events come later.
          if (!(error instanceof StoreError)) throw error;
        }
      }),
    );
  };

  return {
    async markOffline(deviceIds, lastSeenBeforeMs, nowMs) {
      const byShard = Map.groupBy(deviceIds, (deviceId) => shards[shardOf(deviceId, shards.length)]!);
      await importAll(); // Those before come before.
      const marked = await someOf(
        [...byShard],
        ([shard, ids]) => shard.markOffline(ids, lastSeenBeforeMs, nowMs),
      );
      await importAll();
      return marked.reduce((total, number) => total + number, 0);
    },

    async events(after, limit) {
      await importAll();
      return await first.events(after, limit);
    },

    importEvents: (...args) => first.importEvents(...args),

    async claimDelivery(owner, ttlMs, nowMs) {
      await importAll();
      return await first.claimDelivery(owner, ttlMs, nowMs);
    },

    commitDelivery: (owner, eventId, nowMs) => first.commitDelivery(owner, eventId, nowMs),
  };
}

/** Appends what is new in `shard` to the list of `first`; resolves to the id up to which it is appended. */
async function importFrom(
  first: EventStore,
  shard: EventStore,
  source: string,
  known: number,
): Promise<number> {
  for (let after = known;;) {
    // Read once more, the last one shows whether the shard still has it.
    const events = await shard.events(Math.max(0, after - 1), PAGE_EVENTS + 1);
    const newer = events.filter(({ id }) => id > after);
    const continues = after === 0 || events[0]?.id === after || newer.length > 0;
    // The shard went back, and its next events have ids again that were there before.
    const until = continues ? newer.at(-1)?.id ?? after : (await shard.events(undefined, 1))[0]?.id ?? 0;
    if (until === after) return after;
    const imported = await first.importEvents(source, after, newer, until);
    if (imported === until && newer.length < PAGE_EVENTS) return imported;
    after = imported; // Another process has imported some of them: on from there.
  }
}
