/**
 * Name and tags of a device as all stores keep them: a JSON array that begins with the name, in which keys and values
 * follow, by key.
 *
 * @module
 */
import { type DeviceLabels, type LabelChange, MAX_TAGS } from "../labels.ts";

/** Of a device without name and tags. */
export const noLabels: DeviceLabels = { name: "", tags: new Map() };

/** The text of {@linkcode noLabels}. */
export const noLabelsText: string = encodeLabels(noLabels);

/** The text to store. */
export function encodeLabels({ name, tags }: DeviceLabels): string {
  return JSON.stringify([name, ...[...tags].flat()]);
}

/** Reads what {@linkcode encodeLabels} wrote. */
export function decodeLabels(text: string): DeviceLabels {
  const [name, ...rest] = JSON.parse(text) as [string, ...string[]];
  const tags = new Map<string, string>();
  for (let i = 0; i < rest.length; i += 2) tags.set(rest[i]!, rest[i + 1]!);
  return { name, tags };
}

/** What `text` becomes; undefined: it would have too many tags. */
export function changedLabels(text: string | undefined, change: LabelChange): string | undefined {
  const before = text === undefined ? noLabels : decodeLabels(text);
  const tags = new Map([...before.tags, ...change.tags ?? []]);
  const kept = [...tags].filter(([, value]) => value !== "").sort(([a], [b]) => a < b ? -1 : 1);
  if (kept.length > MAX_TAGS) return undefined;
  return encodeLabels({ name: change.name ?? before.name, tags: new Map(kept) });
}
