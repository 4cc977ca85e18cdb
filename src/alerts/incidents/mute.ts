/**
 * Mutes: times in which there are no messages, for maintenance for example. Incidents are kept all the same.
 *
 * @module
 */
import type { AlertDocument } from "../../store/alerts.ts";
import { DeviceGlob } from "../rules/device_glob.ts";
import { parseObject } from "../rules/rule.ts";

const DAY_MS = 86_400_000;

/** How long it is until a mute begins again; `none`: it happens once. */
const PERIODS_MS = { none: Infinity, daily: DAY_MS, weekly: 7 * DAY_MS };

/** What people set of a mute; times are Unix milliseconds. */
export interface MuteBody {
  /** The rule that it is for; null: all. */
  readonly rule_id: string | null;
  /** Ids of the devices that it is for, `*` in it stands for any text. */
  readonly devices: string;
  /** Only devices with this tag, as `key=value`; null: whatever tags they have. */
  readonly tag: string | null;
  /** When it begins. */
  readonly from_ms: number;
  /** When it ends: for the first time, if it repeats. */
  readonly until_ms: number;
  /** Whether it begins again a day or a week later (UTC). */
  readonly repeat: "none" | "daily" | "weekly";
  /** Why, for people; may be empty. */
  readonly comment: string;
}

/** A mute in the store. */
export interface Mute extends MuteBody {
  /** Unique. */
  readonly id: string;
}

/** The mute of a document; undefined: another program wrote it. */
export function muteOf({ id, body }: AlertDocument): Mute | undefined {
  const parsed = parseObject(body) as MuteBody | undefined;
  return typeof parsed?.from_ms === "number" && typeof parsed.devices === "string"
    ? { ...parsed, id }
    : undefined;
}

/** Whether the mute is in effect. */
export function isActive({ from_ms, until_ms, repeat }: MuteBody, nowMs: number): boolean {
  const passedMs = nowMs - from_ms;
  if (passedMs < 0) return false;
  const period = PERIODS_MS[repeat] ?? Infinity;
  return (period === Infinity ? passedMs : passedMs % period) < until_ms - from_ms;
}

/** Whether it is over and does not begin again. */
export function isOver({ until_ms, repeat }: MuteBody, nowMs: number): boolean {
  return repeat === "none" && nowMs >= until_ms;
}

/** Whether a device has a tag, given as `key=value`. */
export type HasTag = (deviceId: string, tag: string) => boolean;

/** The mutes in effect at one moment. */
export class ActiveMutes {
  readonly #mutes: readonly (Mute & { readonly glob: DeviceGlob })[];
  readonly #hasTag: HasTag;

  /** Those of `mutes` that are in effect. */
  constructor(mutes: readonly Mute[], nowMs: number, hasTag: HasTag) {
    this.#mutes = mutes.filter((mute) => isActive(mute, nowMs))
      .map((mute) => ({ ...mute, glob: new DeviceGlob(mute.devices) }));
    this.#hasTag = hasTag;
  }

  /** Whether an incident is muted: its rule, and each of `devices`; of no device in particular, by a mute for all. */
  covers(ruleId: string, devices: Iterable<string>): boolean {
    const own = this.#mutes.filter(({ rule_id }) => rule_id === null || rule_id === ruleId);
    if (own.length === 0) return false;
    if (own.some(({ devices, tag }) => devices === "*" && tag === null)) return true;
    let isSome = false;
    for (const deviceId of devices) {
      isSome = true;
      const isCovered = own.some(({ glob, tag }) =>
        glob.matches(deviceId) && (tag === null || this.#hasTag(deviceId, tag))
      );
      if (!isCovered) return false;
    }
    return isSome;
  }
}
