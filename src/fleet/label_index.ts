/**
 * Names and tags of all devices in memory, of those too that have not sent a packet yet: some 200 bytes of each.
 *
 * @module
 */
import type { DeviceLabels } from "../store/labels.ts";

/** A tag that some device has: the same object for all of them. */
export interface Tag {
  /** For example `site`. */
  readonly key: string;
  /** For example `oslo`. */
  readonly value: string;
}

/** Name and tags of a device. */
export interface HeldLabels {
  /** Empty: none. */
  readonly name: string;
  /** By key. */
  readonly tags: readonly Tag[];
  /** Those of them that people have set; the others are of attributes. */
  readonly own: readonly Tag[];
}

/** A device without name and tags. */
const none: HeldLabels = { name: "", tags: [], own: [] };

/** A tag that devices are to have: this value of the key, or with undefined any. */
export interface TagFilter {
  /** See {@linkcode Tag}. */
  readonly key: string;
  /** See {@linkcode Tag}. */
  readonly value: string | undefined;
}

/** Distinct tags of all devices, and distinct keys: each tag has figures of its own, and each key a table of them. */
export const MAX_DISTINCT_TAGS = 10_000, MAX_DISTINCT_KEYS = 100;

/** Labels by device id. */
export class LabelIndex {
  readonly #labels = new Map<string, HeldLabels>();
  /** Tags of attributes, also where what people have set hides them. */
  readonly #attributes = new Map<string, readonly (readonly [key: string, value: string])[]>();
  /** By key, then by value; with the number of devices that have each. */
  readonly #tags = new Map<string, Map<string, { readonly tag: Tag; devices: number }>>();
  #distinctTags = 0;
  /** Called with each device whose labels were set. */
  onChanged: ((deviceId: string) => void) | undefined;

  /** Devices that have any. */
  get size(): number {
    return this.#labels.size;
  }

  /** Distinct tags of all of them. */
  get distinctTags(): number {
    return this.#distinctTags;
  }

  /** Those of a device; empty if it has none. */
  of(deviceId: string): HeldLabels {
    return this.#labels.get(deviceId) ?? none;
  }

  /** Every device that has any. */
  entries(): IterableIterator<[deviceId: string, labels: HeldLabels]> {
    return this.#labels.entries();
  }

  /** Keys of all tags, in order. */
  keys(): string[] {
    return [...this.#tags.keys()].sort();
  }

  /** Sets those of a device; undefined: it has none. */
  set(deviceId: string, labels: DeviceLabels | undefined): void {
    this.#put(deviceId, labels?.name ?? "", labels === undefined ? [] : [...labels.tags]);
  }

  /**
   * Sets the tags that a device has by its attributes; a tag of the same key that people have set hides one. False: one
   * was left out, as there is no room for more distinct tags.
   */
  setAttributes(deviceId: string, tags: readonly (readonly [key: string, value: string])[]): boolean {
    const kept: (readonly [key: string, value: string])[] = [];
    for (const tag of tags) if (this.hasRoomFor([...kept, tag])) kept.push(tag);
    const isAll = kept.length === tags.length, before = this.#attributes.get(deviceId) ?? [];
    if (JSON.stringify(kept) === JSON.stringify(before)) return isAll;
    if (kept.length === 0) this.#attributes.delete(deviceId);
    else this.#attributes.set(deviceId, kept);
    const { name, own } = this.of(deviceId);
    this.#put(deviceId, name, own.map(({ key, value }) => [key, value]));
    return isAll;
  }

  #put(deviceId: string, name: string, own: readonly (readonly [key: string, value: string])[]): void {
    const before = this.#labels.get(deviceId), attributes = this.#attributes.get(deviceId) ?? [];
    // The new ones first: a tag that stays remains the same object.
    const ownTags = own.map(([key, value]) => this.#hold(key, value));
    const others = attributes.filter(([key]) => !own.some(([ownKey]) => ownKey === key))
      .map(([key, value]) => this.#hold(key, value));
    const tags = others.length === 0
      ? ownTags
      : [...ownTags, ...others].sort((a, b) => a.key < b.key ? -1 : 1);
    if (name === "" && tags.length === 0) this.#labels.delete(deviceId);
    else this.#labels.set(deviceId, { name, tags, own: ownTags });
    for (const tag of before?.tags ?? []) this.#release(tag);
    this.onChanged?.(deviceId);
  }

  /** Removes the labels of all devices that are not among these. */
  keepOnly(deviceIds: ReadonlySet<string>): void {
    for (const deviceId of this.#labels.keys()) {
      if (!deviceIds.has(deviceId)) this.set(deviceId, undefined);
    }
  }

  /**
   * Whether there is room for these tags beside those that devices have: at most {@linkcode MAX_DISTINCT_TAGS} with
   * {@linkcode MAX_DISTINCT_KEYS} keys.
   */
  hasRoomFor(tags: Iterable<readonly [key: string, value: string]>): boolean {
    const added = new Map<string, Set<string>>();
    let [tagsAdded, keysAdded] = [0, 0];
    for (const [key, value] of tags) {
      const values = this.#tags.get(key);
      if (values?.has(value)) continue;
      let more = added.get(key);
      if (more === undefined) {
        added.set(key, more = new Set());
        if (values === undefined) keysAdded++;
      }
      if (!more.has(value)) tagsAdded++;
      more.add(value);
    }
    if (tagsAdded === 0) return true;
    return this.#distinctTags + tagsAdded <= MAX_DISTINCT_TAGS &&
      this.#tags.size + keysAdded <= MAX_DISTINCT_KEYS;
  }

  /**
   * Whether a device has the tags: of each key one of the values that `filters` has for it. Undefined: there are no
   * filters.
   */
  matcher(filters: readonly TagFilter[]): ((deviceId: string) => boolean) | undefined {
    if (filters.length === 0) return undefined;
    const byKey = Map.groupBy(filters, ({ key }) => key);
    const wanted = [...byKey].map(([key, some]) => {
      const values = this.#tags.get(key);
      const isAny = some.some(({ value }) => value === undefined);
      const held = isAny ? [...values?.values() ?? []] : some.map(({ value }) => values?.get(value!));
      return new Set(held.flatMap((found) => found === undefined ? [] : [found.tag]));
    });
    return (deviceId) => {
      const tags = this.#labels.get(deviceId)?.tags;
      return tags !== undefined && wanted.every((some) => tags.some((tag) => some.has(tag)));
    };
  }

  #hold(key: string, value: string): Tag {
    let values = this.#tags.get(key);
    if (values === undefined) this.#tags.set(key, values = new Map());
    let held = values.get(value);
    if (held === undefined) {
      values.set(value, held = { tag: { key, value }, devices: 0 });
      this.#distinctTags++;
    }
    held.devices++;
    return held.tag;
  }

  #release({ key, value }: Tag): void {
    const values = this.#tags.get(key)!, held = values.get(value)!;
    if (--held.devices > 0) return;
    values.delete(value);
    this.#distinctTags--;
    if (values.size === 0) this.#tags.delete(key);
  }
}

/** @internal As readers get them. */
export function labelsJson(
  { name, tags }: HeldLabels,
): { name: string | null; tags: Record<string, string> } {
  return {
    name: name === "" ? null : name,
    tags: Object.fromEntries(tags.map(({ key, value }) => [key, value])),
  };
}
