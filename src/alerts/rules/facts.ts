/**
 * What rules are evaluated on.
 *
 * @module
 */
import type { DeviceIndex } from "../../fleet/device_index.ts";
import type { ObservedTime } from "../../fleet/observed_time.ts";
import type { Rule } from "./rule.ts";

/** The devices, by slot. */
export type FleetFacts = Pick<
  DeviceIndex,
  | ("endSlot" | "idAt" | "slotOf" | "firstSeenAt" | "lastSeenAt" | "intervalAt" | "minuteRateAt" | "ageMs")
  | "changes"
>;

/** What devices measure, by the slot of the index. */
export interface ValueFacts {
  /** What reads the latest value of that name; undefined: the device has sent none. */
  reader(name: string): (slot: number) => number | undefined;
}

/** How devices are labelled, by the slot of the index. */
export interface TagFacts {
  /** The value of a device's tag; undefined: it has no such tag. */
  tagAt(slot: number, key: string): string | undefined;
}

/** One moment, for all rules. */
export interface Moment {
  /** Unix milliseconds. */
  readonly unixMs: number;
  /** Milliseconds that never go back. */
  readonly monotonicMs: number;
  /** Packets of all devices that were rejected in the last minute, as far as that was observed. */
  readonly rejectedPerMinute: number;
  /** Whether it was for the whole minute. */
  readonly isRejectedKnown: boolean;
  /** False: not all of the store can be read, and silence may be the store's. */
  readonly isWhole: boolean;
  /** What was received in so long before it may not be in the counts yet, ms. */
  readonly countsLateMs: number;
}

/** What all rules share. */
export interface RuleContext {
  /** The devices. */
  readonly fleet: FleetFacts;
  /** Their values. */
  readonly values: ValueFacts;
  /** Their tags. */
  readonly tags: TagFacts;
  /** Which time counts as silence. */
  readonly observedTime: Pick<ObservedTime, "observedSince">;
  /** Now. */
  moment: Moment;
  /** Receives what rules find. */
  readonly findings: Findings;
}

/** Receives where rules begin and cease to apply; each once. */
export interface Findings {
  /** The rule applies to these devices since `sinceMs`; none: to no device in particular. */
  fired(rule: Rule, deviceIds: readonly string[], sinceMs: number, value: number | undefined): void;
  /** It does not any more; undefined: to none of them. */
  cleared(rule: Rule, deviceId: string | undefined): void;
}
