/**
 * What people call a device: its display name, its tags, and notes about it. A device may have them before its first
 * packet, and keeps them while it is offline; they are removed with it.
 *
 * @module
 */
import type { Changes } from "./devices.ts";

/** Name and tags of a device. */
export interface DeviceLabels {
  /** Display name, at most {@linkcode MAX_NAME_BYTES} bytes; empty: none. */
  readonly name: string;
  /** Values by key, for example `site` → `oslo`, in the order of their keys; at most {@linkcode MAX_TAGS}. */
  readonly tags: ReadonlyMap<string, string>;
}

/** What is to change of a device's labels; what is left out stays. */
export interface LabelChange {
  /** The device, which need not have sent a packet yet. */
  readonly deviceId: string;
  /** Empty: it has none any more. */
  readonly name?: string | undefined;
  /** Values by key; empty: the device does not have the tag any more. Other tags stay. */
  readonly tags?: ReadonlyMap<string, string> | undefined;
  /** At most {@linkcode MAX_NOTES_BYTES} bytes; empty: there are none any more. */
  readonly notes?: string | undefined;
}

/** Why labels were not changed. */
export interface LabelRefusal {
  /** The first device they were refused for. */
  readonly deviceId: string;
  /**
   * `tags`: the device would have more than {@linkcode MAX_TAGS}. `unseen`: it has sent no packet yet, and there are
   * labels of {@linkcode MAX_UNSEEN_LABELLED} devices more than there are devices.
   */
  readonly limit: "tags" | "unseen";
}

/** Reads and changes labels. */
export interface LabelStore {
  /**
   * Changes the labels of these devices, at most {@linkcode MAX_IDS_PER_CALL}, each once; resolves to why it did not:
   * then nothing is changed, or in a store of several shards nothing in one of them.
   */
  setLabels(changes: readonly LabelChange[]): Promise<LabelRefusal | undefined>;

  /** Labels of these devices, at most {@linkcode MAX_IDS_PER_CALL}; those without are left out. */
  labels(deviceIds: readonly string[]): Promise<ReadonlyMap<string, DeviceLabels>>;

  /** Notes about a device; empty: none. */
  notes(deviceId: string): Promise<string>;

  /** Labels of all devices, as {@linkcode DeviceStore.scan}. */
  scanLabels(onPartial?: () => void): AsyncIterable<LabelPage>;

  /**
   * Devices whose labels changed after version `since`, as {@linkcode DeviceStore.changes}, with versions of their own:
   * the values are undefined.
   */
  labelChanges(since?: number): Promise<Changes>;
}

/** Labels of some devices, by their ids. */
export type LabelPage = readonly (readonly [deviceId: string, labels: DeviceLabels])[];

/** Tags of one device. */
export const MAX_TAGS = 16;

/** Characters of a key, which are all ASCII. */
export const MAX_TAG_KEY = 32;

/** Bytes of a tag's value in UTF-8. */
export const MAX_TAG_VALUE_BYTES = 64;

/** Bytes of a name in UTF-8. */
export const MAX_NAME_BYTES = 128;

/** Bytes of notes in UTF-8: a printed page. */
export const MAX_NOTES_BYTES = 2_000;

/** Devices that may have labels before their first packet: with long names and many tags 100 MB in each shard. */
export const MAX_UNSEEN_LABELLED = 100_000;

/** What a key may be. Not `__proto__`, as it begins with a letter. */
const tagKey = new RegExp(`^[A-Za-z][A-Za-z0-9_.-]{0,${MAX_TAG_KEY - 1}}$`);

/** Whether a tag may have this key: letters, digits, `_`, `.` and `-`, of which the first is a letter. */
export function isTagKey(key: string): boolean {
  return tagKey.test(key);
}

/** Whether a tag may have this value. */
export function isTagValue(value: string): boolean {
  return value !== "" && isLabelText(value, MAX_TAG_VALUE_BYTES);
}

/** Whether a name, a value or, with `lines`, notes may be this text: UTF-8 of so many bytes, without control characters. */
export function isLabelText(text: string, maxBytes: number, lines = false): boolean {
  if (text.length > maxBytes || !text.isWellFormed()) return false;
  if (/\p{Cc}/u.test(lines ? text.replaceAll(/[\n\r\t]/g, "") : text)) return false;
  return text.length * 3 <= maxBytes || utf8.encode(text).length <= maxBytes;
}

const utf8 = new TextEncoder();
