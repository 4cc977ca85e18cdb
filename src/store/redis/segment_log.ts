/**
 * A segment log in Redis: batches as they came, which are merged into counts and records later.
 *
 * To add a batch to the hashes device by device costs Redis some 9 µs a device: reads 3, Lua 3, writes 3. To append it as
 * one value costs 0.1 µs a device, because Redis does not look into it (7.2 MB by SET: 5 to 12 ms; through Lua 15 ms
 * more, for Lua hashes each byte of a string). So when a fleet sends more than Redis can count at once, ingest writes each
 * batch as a *segment*: one SET, and a script that makes it part of the log in the same atomic step in which the sessions
 * of the batch advance. What is in a log is stored, and acknowledged. In the background the segments are merged: the
 * deltas of each device, coalesced over all of them, are added as one, part by part, each in one atomic step with how far
 * the log is merged. A device that sends ten times as often as its log is merged costs a tenth.
 *
 * Nothing but the store is needed to go on: a log whose owner has ended is taken over by any other process.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import { Backoff } from "../../runtime/backoff.ts";
import type { ForeignCounts } from "../model/foreign_counts.ts";
import type { Generation, SegmentFacts } from "../model/generation.ts";
import type { PendingDelta } from "../model/pending_deltas.ts";
import { UnmergedSegments } from "../model/unmerged_segments.ts";
import type { DeviceDelta } from "../packets.ts";
import { StoreError } from "../store_error.ts";
import { packDevices, packSeen } from "./device_columns.ts";
import type { RedisClient } from "./redis_client.ts";
import { mergedSampleColumns } from "./sample_columns.ts";
import { mergeScript } from "./scripts.ts";
import { bucketsOf, Parts } from "./segment_parts.ts";

/** One batch in a log. */
export interface Segment extends SegmentFacts {
  /** What names its key. */
  readonly name: string;
}

/** How far a log is merged, as its hash has it. */
export interface MergeState {
  /** Segments up to this are merged. */
  readonly merged: number;
  /** Those up to this are being merged; 0: none are. */
  readonly to: number;
  /** Into how many their devices are divided. */
  readonly buckets: number;
  /** How many of the buckets are merged. */
  readonly done: number;
}

/** The state of a log that was just made. */
const newLog: MergeState = { merged: 0, to: 0, buckets: 0, done: 0 };

/**
 * Least share of the time in which Redis merges, all shards together, while devices send; the older and larger a log, the
 * more. Logs of shards that were merged in the whole of it each would hold fewer segments to coalesce.
 */
const LEAST_SHARE = 0.3;

/** Outcomes of `merge.lua`. */
const LOG_TAKEN = 2, LOG_GONE = 3;

/** One log, of which this process is the owner. */
export class SegmentLog {
  /** Number of the newest segment. */
  committed: number;
  /** Another process has the log, or the store lost it. Whatever is in it is merged from the store. */
  isLost = false;
  /**
   * It is lost because there is no such log any more: all is merged, or the store was emptied, which the next batch of the
   * process shows.
   */
  isGone = false;
  /** All is merged: it does not exist in the store any more. */
  isEnded = false;
  /** {@linkcode merge} is at work: it merges what is appended meanwhile too. */
  isMerging = false;
  /** A segment was sent, and it is not known yet whether it was committed. */
  isCommitting = false;
  /** Of it what is not merged yet. */
  readonly unmerged: UnmergedSegments<Segment> = new UnmergedSegments();
  #state: MergeState;
  readonly #backoff = new Backoff({ firstMs: 25, maxMs: 1000 });

  /** `owner`: the name of the log itself, or of the process that took it over. */
  constructor(
    readonly client: RedisClient,
    readonly foreign: ForeignCounts,
    readonly name: string,
    readonly owner: string = name,
    state: MergeState = newLog,
  ) {
    this.#state = state;
    this.committed = state.merged;
  }

  /** A segment was committed, with these deltas. `indexes`: of their devices in {@linkcode Generation.add}. */
  append(segment: Segment, deltas: readonly DeviceDelta[], indexes: ArrayLike<number>): void {
    this.committed = segment.number;
    this.unmerged.append(segment, deltas, indexes);
  }

  /** Resolves when there is room for a segment. */
  room(): Promise<void> {
    return this.unmerged.room(() => !this.isLost && !this.isEnded);
  }

  /**
   * Merges until all is merged, the log is lost, or `signal` is aborted. `onMissing` receives devices that were removed
   * since their packets were appended; `onGeneration` is called before each merge.
   */
  async merge(
    signal: AbortSignal,
    onMissing: (delta: PendingDelta) => void = () => {},
    onGeneration: (generation: Generation<Segment>) => void = () => {},
  ): Promise<void> {
    this.isMerging = true;
    try {
      for (let generation; (generation = this.unmerged.generations[0]) !== undefined && !signal.aborted;) {
        generation.isSealed = true;
        onGeneration(generation);
        if (!await this.#mergeGeneration(generation, signal, onMissing)) return;
      }
    } finally {
      this.isMerging = false;
      this.unmerged.release();
    }
  }

  /** False: the log is lost, or `signal` was aborted. */
  async #mergeGeneration(
    generation: Generation<Segment>,
    signal: AbortSignal,
    onMissing: (delta: PendingDelta) => void,
  ): Promise<boolean> {
    const { pending, segments } = generation, to = segments.at(-1)!.number, { merged } = this.#state;
    const resumed = this.#state.to === to ? this.#state : undefined;
    const parts = new Parts(pending, resumed?.buckets ?? bucketsOf(pending.size));
    for (let bucket = resumed?.done ?? 0; bucket < parts.buckets; bucket++) {
      const isLast = bucket === parts.buckets - 1, deltas = parts.deltas(bucket);
      if (deltas.length === 0 && !isLast) continue;
      const after = isLast
        ? { ...newLog, merged: to }
        : { merged, to, buckets: parts.buckets, done: bucket + 1 };
      const startedMs = performance.now();
      const missing = await this.#mergePart(deltas, generation, after, isLast, signal);
      if (missing === undefined) return false;
      for (const index of missing) onMissing(deltas[index]!);
      this.#state = after;
      if (isLast) {
        // Without a further segment the log does not exist any more.
        this.isEnded = this.unmerged.generations.length === 1 && !this.isCommitting;
        this.unmerged.removeOldest();
        if (this.isEnded) return true;
      }
      await this.#spareStore(performance.now() - startedMs, generation, signal);
    }
    return true;
  }

  /** Merges one part in one step; resolves to the indexes of devices that are missing, or undefined as above. */
  async #mergePart(
    deltas: readonly PendingDelta[],
    { pending: { receivedAtMs }, segments }: Generation<Segment>,
    after: MergeState,
    isLast: boolean,
    signal: AbortSignal,
  ): Promise<readonly number[] | undefined> {
    const { keys, keepsValues } = this.client,
      since = this.unmerged.generations[1]?.segments[0]?.receivedAtMs ?? 0;
    const merged = isLast ? segments : [];
    const names = [
      ...[keys.counts, keys.records, keys.payloads, keys.histories, keys.version, keys.changes, keys.events],
      ...[keys.lineage, keys.setAside, keys.nothing, keys.removed, keys.log(this.name), keys.logs],
      ...[keys.samples, keys.sampleState, keys.valueFeed],
      ...merged.map(({ name }) => keys.segment(name)),
    ];
    const args = [
      ...[receivedAtMs, ...packDevices(deltas), packSeen(deltas)],
      ...[this.name, this.owner, stateText(this.#state), stateText(after)],
      ...[segments.at(-1)!.number, since],
      ...mergedSampleColumns(keepsValues, deltas),
      ...merged.map(({ number }) => number),
    ];
    for (;;) {
      try {
        const attempt = `merge ${deltas.length} devices of a segment log`;
        const reply = await this.client.write(attempt, mergeScript, names, args);
        const [outcome, aside, missing] = reply as [number, Buffer[], number[]];
        this.#backoff.succeeded();
        for (let i = 0; i < aside.length; i += 2) {
          this.foreign.setAside(aside[i]!.toString(), aside[i + 1]!.toString(), keys.setAside);
        }
        this.isGone = outcome === LOG_GONE;
        this.isLost = this.isGone || outcome === LOG_TAKEN;
        return this.isLost ? undefined : missing;
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
      }
      await this.#backoff.wait(this.#backoff.failed(), signal);
      if (signal.aborted) return undefined;
    }
  }

  /** A part took so long: waits, so that commits and readers have the rest of the store's time. */
  async #spareStore(tookMs: number, generation: Generation<Segment>, signal: AbortSignal): Promise<void> {
    const share = this.unmerged.mergeShare(generation, LEAST_SHARE / this.client.shards);
    if (share < 1) await this.#backoff.wait(tookMs * (1 / share - 1), signal);
  }
}

function stateText({ merged, to, buckets, done }: MergeState): string {
  return `${merged} ${to} ${buckets} ${done}`;
}
