/**
 * A store made of several, its shards. It knows nothing of them but that they are stores.
 *
 * A device is in the shard that `shardOf()` of its id names. What is of no device is in the first shard: reports of
 * ingests, tokens, the audit log, the list of events and the lease to deliver them.
 *
 * **Why a packet is counted once, though shards have no common step.** A session has a home shard, by its name, which
 * keeps its epoch and its committed offset. Each shard with devices of the session keeps besides how far it has the
 * session (its *part*, with the same epoch), and moves that in the step that adds the counts.
 *
 * A claim first claims the session in its home, which puts claims in an order by their epochs; then, with that epoch,
 * each part that exists, in all shards at once. A part refuses an epoch below its own. So what an older stream has
 * added to a shard before is in the offset that the claim reads, and afterwards it can add nothing. What shards have
 * beyond the committed offset comes with the claim ({@linkcode SessionShards}): the stream leaves it out.
 *
 * A batch is applied in these steps, each in all its shards at once:
 *
 * 1. *check*, if a part is not known: whether the stream still has the session, in its home. Then the part is claimed.
 * 2. *apply*: each shard adds its devices, moves the parts of their sessions, and the committed offset of sessions
 *    whose packets are all in their home.
 * 3. *close*: the committed offsets of the other sessions move, after all parts.
 *
 * - The process or a shard fails between two steps: the committed offset is where it was, and the parts of the shards
 *   that have applied are beyond it. The client sends again from the committed offset; what shards have is left out.
 * - A reply is lost, or a shard fails: `apply()` rejects when the others have replied, and the writer sends the same
 *   batch again. Shards that have confirmed a step are left out; one whose reply was lost recognises the sequence,
 *   which has a name of its own for each step.
 * - A shard fences a session, after others have applied its part: the batch is sent again with less under the same
 *   sequence. What those shards have too much of is of fenced sessions only, and in their parts: a newer stream finds it
 *   when it claims, and a part that it did not find, because it was made later, when it claims that before its first
 *   packets there. Of all other sessions they have what the smaller batch has.
 * - An older stream makes a part after a newer one has claimed: the newer finds more in it than it expects, ends, and
 *   its client claims again. In the home shard that would not be found, as sessions with packets there alone use no
 *   part: so there a step with a part also checks the epoch of the session itself.
 * - A shard goes back alone: streams find their part there to be less than they left it. The committed offset is moved
 *   back to it (`SessionChecker.rewind()`), so that what is lost is found, and only that is counted if it is sent again: the
 *   other shards are beyond it. The same if it is the home, whose committed offset is less then. The part of a session
 *   that has no stream meanwhile is not missed: packets that such a shard lost of it are not counted as lost.
 * - A part expires: it is below the committed offset, and not needed. The committed offset of a session expires after
 *   its parts, or they are beyond it, and the next claim finds them.
 *
 * Limits are divided by the number of shards: each refuses devices above its own share.
 *
 * @module
 */
import { type Clock, systemClock } from "../../runtime/clock.ts";
import type { ShardReport, Store } from "../store.ts";
import { StoreError } from "../store_error.ts";
import { shardedAlerts } from "./alerts.ts";
import { ShardedBatches } from "./batches.ts";
import { shardedDevices } from "./devices.ts";
import { shardedEvents } from "./events.ts";
import { shardedHistories } from "./histories.ts";
import { shardedLabels } from "./labels.ts";
import { ShardedClaims } from "./session_claims.ts";
import { allSettled } from "./settled.ts";
import { ShardReads } from "./shard_reads.ts";
import { shardedValues } from "./values.ts";
import { shardOf } from "./shard_of.ts";
import { VersionNumbers } from "./versions.ts";

/** What {@linkcode shardedStore} needs. */
export interface ShardedStoreOptions {
  /** Always the same ones in the same order. Closed with the store. */
  readonly shards: readonly [Store, ...Store[]];
  /** Of the versions that `changes()` returns; default: its own. */
  readonly versions?: VersionNumbers;
  /** To measure how late shards are; default {@linkcode systemClock}. */
  readonly clock?: Clock;
}

/** See the module. */
export function shardedStore(
  { shards, versions = new VersionNumbers(), clock = systemClock }: ShardedStoreOptions,
): Store {
  const [first] = shards;
  const reads = new ShardReads(shards, clock);
  const claims = new ShardedClaims(shards);
  const batches = new ShardedBatches(shards);
  const all = <T>(call: (shard: Store) => Promise<T>) => allSettled(shards.map(call));
  return {
    description: `${shards.length} shards, the first: ${first.description}`,
    claimSession: (session, offset, nowMs, continues, limits, _epoch, resendable) =>
      claims.claim(session, offset, nowMs, continues, limits, resendable),
    apply: (batch) => batches.apply(batch),
    deferred() {
      const amounts = shards.map((shard) => shard.deferred?.() ?? { packets: 0, bytes: 0 });
      return {
        packets: amounts.reduce((sum, { packets }) => sum + packets, 0),
        bytes: amounts.reduce((sum, { bytes }) => sum + bytes, 0),
      };
    },
    packetsOf: (deviceId, after, limit) =>
      shards[shardOf(deviceId, shards.length)]!.packetsOf(deviceId, after, limit),
    ...shardedDevices(reads, versions, clock),
    ...shardedHistories(reads),
    ...shardedValues(reads),
    ...shardedEvents(reads),
    ...shardedLabels(reads, clock),
    reportInstance: (report) => first.reportInstance(report),
    removeInstance: (instance) => first.removeInstance(instance),
    instances: (nowMs) => first.instances(nowMs),
    addTokens: (tokens) => first.addTokens(tokens),
    tokensByHash: (hashes) => first.tokensByHash(hashes),
    tokens: (kind, after, limit) => first.tokens(kind, after, limit),
    revokeTokens: (ids) => first.revokeTokens(ids),
    markTokensUsed: (usedMs) => first.markTokensUsed(usedMs),
    credentialsVersion: () => first.credentialsVersion(),
    appendAudit: (entries) => first.appendAudit(entries),
    audit: (before, limit) => first.audit(before, limit),
    ...shardedAlerts(first),
    ping: async () => void await all((shard) => shard.ping()),

    async status() {
      const [status, ...others] = await reads.all((shard) => shard.status());
      const policies = [status, ...others].map((found) => found?.evictionPolicy);
      // One clock for all: times of different shards are compared.
      if (status === undefined) throw new StoreError("could not read the clock of the first shard");
      const lateMs = [status, ...others].map((found) => found?.countsLateMs ?? 0);
      return {
        clockMs: status.clockMs,
        evictionPolicy: policies.find((policy) => policy !== undefined),
        countsLateMs: Math.max(...lateMs),
      };
    },

    shards: () => Promise.all(shards.map((shard, index) => report(shard, index, reads, clock))),

    close: async () => void await all((shard) => shard.close()),
  };
}

async function report(
  { description }: Store,
  index: number,
  reads: ShardReads<Store>,
  clock: Clock,
): Promise<ShardReport> {
  const sentMs = clock.monotonicMs();
  try {
    const { address = description, memoryBytes, devices, countsLateMs } = await reads.read(
      index,
      (shard) => shard.status(),
    );
    const responseMs = clock.monotonicMs() - sentMs;
    return { address, lateSinceMs: undefined, responseMs, memoryBytes, devices, countsLateMs };
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    return {
      ...{ address: description, lateSinceMs: reads.lateSinceMs(index) },
      ...{ responseMs: undefined, memoryBytes: undefined, devices: undefined, countsLateMs: undefined },
    };
  }
}
