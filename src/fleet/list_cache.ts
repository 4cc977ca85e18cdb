/**
 * Lists of devices: which ones, in which order, and page by page while they change.
 *
 * The first page fixes the order of all pages, so that walking them gives each device once although counts and times
 * move; what the pages show of a device is as fresh as the page. A ranking that is no longer kept (its client took
 * too long, or requests the next page of another api process) continues after the last device's key instead: then a
 * device that moved meanwhile can come twice or not at all.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import { RequestError } from "../protocol/request_error.ts";
import type { Clock } from "../runtime/clock.ts";
import type { DeviceIndex } from "./device_index.ts";
import type { FleetValues } from "./fleet_values.ts";
import type { LabelIndex, TagFilter } from "./label_index.ts";

/** What devices can be sorted by. */
export const SORT_KEYS = ["id", "count", "rate", "last_seen"] as const;

/** One of {@linkcode SORT_KEYS}, or `value:` and the name of a value. */
export type SortKey = typeof SORT_KEYS[number] | `value:${string}`;

const VALUE_PREFIX = "value:";

/** Whether a text is a {@linkcode SortKey}. */
export function isSortKey(text: string): text is SortKey {
  return (SORT_KEYS as readonly string[]).includes(text) || isValueKey(text) && text !== VALUE_PREFIX;
}

function isValueKey(text: string): text is `value:${string}` {
  return text.startsWith(VALUE_PREFIX);
}

/** Which devices, in which order. */
export interface ListQuery {
  /** Only these; undefined: both. */
  readonly status: "online" | "offline" | undefined;
  /** The beginning of the ids; empty: any. */
  readonly prefix: string;
  /** Any part of the ids or names, in any case; empty: any. */
  readonly search: string;
  /** Tags of the devices, see {@linkcode LabelIndex.matcher}. */
  readonly tags: readonly TagFilter[];
  /** Devices with equal keys are ordered by id. */
  readonly sort: SortKey;
  /** Ids are ordered by UTF-16 code units. */
  readonly order: "asc" | "desc";
}

/** A page of a list. */
export interface ListPage {
  /** Slots in the index, at most the limit. */
  readonly slots: readonly number[];
  /** Devices of all pages. */
  readonly total: number;
  /** Requests the page after this; undefined on the last one. */
  readonly nextCursor: string | undefined;
}

/** Rankings kept: 0.4 MB each for 100,000 devices. */
const MAX_RANKINGS = 16;

/** A ranking unused for so long is dropped. */
const RANKING_EXPIRY_MS = 60_000;

/** First pages requested within this time share a ranking. */
const SHARED_FOR_MS = 250;

/** A ranking that is kept for the pages to come. */
interface DeviceRanking extends Ranking {
  readonly name: string;
  readonly query: string;
  readonly madeAtMs: number;
  usedAtMs: number;
}

/** Devices in some order. */
interface Ranking {
  /** Every device, by id. */
  readonly ids: readonly string[];
  /** The positions in `ids` of the devices of the list, in its order. */
  readonly ranks: Uint32Array;
}

/** Where the next page begins. */
interface ListCursor {
  readonly name: string;
  readonly position: number;
  /** Key and id of the last device of the page before. */
  readonly key: number;
  readonly deviceId: string;
}

/** Lists of an index's devices, kept for their next pages. */
export class ListCache {
  readonly #index: DeviceIndex;
  readonly #labels: LabelIndex;
  readonly #clock: Clock;
  readonly #values: FleetValues | undefined;
  /** The least recently used first. */
  #rankings: DeviceRanking[] = [];

  /** Holds no list yet. `values`: what devices can be sorted by besides; default: nothing. */
  constructor(index: DeviceIndex, labels: LabelIndex, clock: Clock, values?: FleetValues) {
    this.#index = index;
    this.#labels = labels;
    this.#clock = clock;
    this.#values = values;
  }

  /**
   * The page after `cursor`; without one, the page after the first `offset` devices. Throws
   * {@linkcode RequestError} for a cursor that is none.
   */
  page(query: ListQuery, limit: number, cursor: string | undefined, offset = 0): ListPage {
    const after = cursor === undefined ? undefined : decodeCursor(cursor);
    const ranking = this.#ranking(query, after);
    const slots: number[] = [];
    let position = after === undefined
      ? offset
      : ranking.name === after.name
      ? after.position
      : this.#positionAfter(query, ranking, after);
    const { ids, ranks } = ranking;
    let deviceId = "";
    for (; position < ranks.length && slots.length < limit; position++) {
      const slot = this.#index.slotOf(ids[ranks[position]!]!);
      if (slot === undefined) continue; // Removed since.
      deviceId = ids[ranks[position]!]!;
      slots.push(slot);
    }
    const last = slots.at(-1);
    return {
      slots,
      total: ranks.length,
      nextCursor: last === undefined || position >= ranks.length ? undefined : encodeCursor({
        name: ranking.name,
        position,
        key: this.#keys(query)(last),
        deviceId,
      }),
    };
  }

  #ranking(query: ListQuery, after: ListCursor | undefined): DeviceRanking {
    const nowMs = this.#clock.monotonicMs();
    const queryText = JSON.stringify(query);
    this.#rankings = this.#rankings.filter(({ usedAtMs }) => nowMs - usedAtMs <= RANKING_EXPIRY_MS);
    const isShared = (ranking: DeviceRanking) => nowMs - ranking.madeAtMs <= SHARED_FOR_MS;
    let ranking = this.#rankings.find((ranking) =>
      ranking.query === queryText && (after === undefined ? isShared(ranking) : ranking.name === after.name)
    );
    if (ranking === undefined) {
      ranking = {
        ...ranked(this.#index, this.#labels, query, this.#keys(query), this.#clock.unixMs()),
        ...{ name: crypto.randomUUID(), query: queryText, madeAtMs: nowMs, usedAtMs: nowMs },
      };
    } else {
      this.#rankings.splice(this.#rankings.indexOf(ranking), 1);
    }
    ranking.usedAtMs = nowMs;
    this.#rankings.push(ranking);
    if (this.#rankings.length > MAX_RANKINGS) this.#rankings.shift();
    return ranking;
  }

  /** What the devices of a list are sorted by, by slot. */
  #keys(query: ListQuery): KeyOf {
    const { sort, order } = query, nowMs = this.#clock.unixMs();
    if (!isValueKey(sort)) return (slot) => keyOf(this.#index, sort, slot, nowMs);
    const valueAt = this.#values?.reader(sort.slice(VALUE_PREFIX.length)) ?? (() => undefined);
    const last = order === "asc" ? Number.MAX_VALUE : -Number.MAX_VALUE;
    return (slot) => valueAt(slot) ?? last;
  }

  #positionAfter(query: ListQuery, { ids, ranks }: DeviceRanking, after: ListCursor): number {
    const keyOf = this.#keys(query);
    const sign = query.order === "asc" ? 1 : -1;
    let [low, high] = [0, ranks.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const deviceId = ids[ranks[middle]!]!;
      const key = keyOf(this.#index.slotOf(deviceId)!);
      const idSign = query.sort === "id" ? sign : 1;
      const isAfter = key === after.key
        ? idSign * (deviceId > after.deviceId ? 1 : -1) > 0 && deviceId !== after.deviceId
        : sign * (key - after.key) > 0;
      if (isAfter) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/** What the device in a slot is sorted by. */
type KeyOf = (slot: number) => number;

/** A whole number: what a device is sorted by; 0 for all when it is the id. */
function keyOf(index: DeviceIndex, sort: typeof SORT_KEYS[number], slot: number, nowMs: number): number {
  switch (sort) {
    case "id":
      return 0;
    case "count":
      return index.countAt(slot);
    case "rate":
      // Rates have three decimals.
      return Math.round(index.rateAt(slot, nowMs) * 1_000);
    case "last_seen":
      return index.lastSeenAt(slot);
  }
}

function ranked(
  index: DeviceIndex,
  labels: LabelIndex,
  query: ListQuery,
  keyOf: KeyOf,
  nowMs: number,
): Ranking {
  const { ids, slots } = index.sorted();
  const ranks = matchingRanks(index, labels, query, nowMs);
  if (query.sort === "id") return { ids, ranks: query.order === "asc" ? ranks : ranks.reverse() };

  const sign = query.order === "asc" ? 1 : -1;
  const keys = keysOf(ranks, slots, index.endSlot, (slot) => sign * keyOf(slot));
  const order = isValueKey(query.sort) ? ranksByComparison(keys) : ranksByKey(keys);
  for (let i = 0; i < order.length; i++) order[i] = ranks[order[i]!]!;
  return { ids, ranks: order };
}

/** The keys of all devices are read if the list has more than one in so many of them. */
const ALL_PER_LISTED = 4;

/**
 * The keys of the devices at `ranks`. What the index has of neighbouring slots is neighbouring in memory, so to read a
 * million rates takes some 50 ms slot by slot, and 120 ms in the order of ids.
 */
function keysOf(ranks: Uint32Array, slots: Uint32Array, endSlot: number, keyOf: KeyOf): Float64Array {
  const keys = new Float64Array(ranks.length);
  if (ranks.length * ALL_PER_LISTED < endSlot) {
    for (let i = 0; i < keys.length; i++) keys[i] = keyOf(slots[ranks[i]!]!);
  } else {
    const ofSlots = new Float64Array(endSlot);
    for (let slot = 0; slot < endSlot; slot++) ofSlots[slot] = keyOf(slot);
    for (let i = 0; i < keys.length; i++) keys[i] = ofSlots[slots[ranks[i]!]!]!;
  }
  return keys;
}

/** The positions, among all devices by id, of those that match `query`. */
function matchingRanks(
  index: DeviceIndex,
  labels: LabelIndex,
  { prefix, search, status, tags }: ListQuery,
  nowMs: number,
): Uint32Array {
  const { ids, slots } = index.sorted();
  const part = search.toLowerCase();
  const hasTags = labels.matcher(tags);
  const isFound = (id: string) =>
    id.toLowerCase().includes(part) || labels.size > 0 && labels.of(id).name.toLowerCase().includes(part);
  const ranks = new Uint32Array(ids.length);
  let length = 0;
  for (let rank = 0; rank < ids.length; rank++) {
    if (prefix !== "" && !ids[rank]!.startsWith(prefix)) continue;
    if (part !== "" && !isFound(ids[rank]!)) continue;
    if (hasTags !== undefined && !hasTags(ids[rank]!)) continue;
    if (status !== undefined && index.onlineAt(slots[rank]!, nowMs) !== (status === "online")) continue;
    ranks[length++] = rank;
  }
  return ranks.slice(0, length);
}

/** Positions in `keys`, any numbers, by ascending key; equal ones stay in order. */
function ranksByComparison(keys: Float64Array): Uint32Array {
  return Uint32Array.from(keys, (_, i) => i).sort((a, b) => keys[a]! - keys[b]! || a - b);
}

/** Values of the digits by which keys are sorted: 11 bits, so that a key below four million has two. */
const DIGIT_VALUES = 2_048;

/**
 * Positions in `keys`, whole numbers, by ascending key; equal ones stay in order. By digits, the last one
 * first: 100,000 keys of two digits take 4 ms, sorting by comparison takes 60 ms.
 */
function ranksByKey(keys: Float64Array): Uint32Array {
  let [least, greatest] = [Infinity, -Infinity];
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i]!;
    if (key < least) least = key;
    if (key > greatest) greatest = key;
  }
  let ranks = new Uint32Array(keys.length), sorted = new Uint32Array(keys.length);
  for (let rank = 0; rank < ranks.length; rank++) ranks[rank] = rank;
  const digits = new Uint16Array(keys.length);
  const ends = new Uint32Array(DIGIT_VALUES);
  // What is left of the keys when the digits before are taken away.
  const rest = keys.map((key) => key - least);
  for (let scale = 1; scale <= greatest - least; scale *= DIGIT_VALUES) {
    ends.fill(0);
    for (let i = 0; i < rest.length; i++) {
      const higher = Math.floor(rest[i]! / DIGIT_VALUES);
      const digit = digits[i] = rest[i]! - higher * DIGIT_VALUES;
      rest[i] = higher;
      ends[digit]!++;
    }
    for (let digit = 1; digit < DIGIT_VALUES; digit++) ends[digit]! += ends[digit - 1]!;
    for (let i = ranks.length - 1; i >= 0; i--) {
      const rank = ranks[i]!;
      sorted[--ends[digits[rank]!]!] = rank;
    }
    [ranks, sorted] = [sorted, ranks];
  }
  return ranks;
}

function encodeCursor({ name, position, key, deviceId }: ListCursor): string {
  return Buffer.from(JSON.stringify([name, position, key, deviceId])).toString("base64url");
}

function decodeCursor(text: string): ListCursor {
  try {
    const [name, position, key, deviceId] = JSON.parse(Buffer.from(text, "base64url").toString());
    if (
      typeof name === "string" && Number.isSafeInteger(position) && position >= 0 &&
      typeof key === "number" && typeof deviceId === "string"
    ) return { name, position, key, deviceId };
  } catch {
    // Not JSON: reported below.
  }
  throw new RequestError(
    "INVALID_ARGUMENT",
    "Cannot use the cursor: expected next_cursor of the page before, or no cursor for the first page",
  );
}
