/**
 * A rule that is evaluated for each device: offline, a value, a rate. Its state of a device is a byte; what has to be
 * looked at again without a packet has a due time, one for each device at most.
 *
 * @module
 */
import { DeviceGlob } from "./device_glob.ts";
import { DueTimes } from "./due_times.ts";
import type { RuleContext } from "./facts.ts";
import type { Condition, Range, Rule } from "./rule.ts";
import { silenceLeftMs } from "./silence.ts";

/** States of a device; 0: the rule does not cover it. */
const OK = 1, PENDING = 2, FIRING = 3;

/** A device that sends ten times a second is not offline after 0.3 seconds, which is how late readers may be. */
const MIN_INTERVALS_MS = 10_000;

/** The usual interval may become shorter meanwhile. */
const MAX_INTERVALS_WAIT_MS = 60_000;

/** Rates are over a minute. */
const RATE_WINDOW_MS = 60_000;

/** Devices whose pending state is kept for the process that evaluates next. */
const MAX_PENDING_KEPT = 10_000;

/** What another process had found. */
export interface Restored {
  /** The rule applies, also if that is to no device in particular. */
  readonly isFiring: boolean;
  /** Devices to which the rule applies. */
  readonly firing: readonly string[];
  /** Since when, of devices to which it applies when that has lasted for long enough. */
  readonly pending: ReadonlyMap<string, number>;
}

/** A rule with its state of all devices. */
export class DeviceRule {
  /** What it is made of. */
  readonly rule: Rule & { readonly condition: Extract<Condition, { kind: "offline" | "value" | "rate" }> };
  readonly #context: RuleContext;
  readonly #glob: DeviceGlob;
  readonly #tag: readonly [key: string, value: string] | undefined;
  #states: Uint8Array<ArrayBuffer>;
  readonly #due: DueTimes;
  #firing = 0;
  /** By slot, of those that are pending. */
  readonly #since = new Map<number, number>();
  #restoredSince: Map<string, number>;
  #valueAt: (slot: number) => number | undefined = () => undefined;
  /** Whether the pending ones are others than when they were read last. */
  isPendingChanged = false;

  /** Evaluates all devices that there are. */
  constructor(rule: DeviceRule["rule"], context: RuleContext, restored: Restored) {
    this.rule = rule;
    this.#due = new DueTimes(context.moment.monotonicMs);
    this.#context = context;
    this.#glob = new DeviceGlob(rule.devices);
    const [key, value] = rule.tag?.split("=", 2) ?? [];
    this.#tag = key === undefined ? undefined : [key, value ?? ""];
    const { fleet, findings } = context;
    this.#states = new Uint8Array(Math.max(1_024, fleet.endSlot));
    this.#restoredSince = new Map(restored.pending);
    for (const deviceId of restored.firing) {
      const slot = fleet.slotOf(deviceId);
      if (slot === undefined || !this.#covers(slot, deviceId)) findings.cleared(rule, deviceId);
      else this.#setState(slot, FIRING);
    }
    this.#readValues();
    for (let slot = 0; slot < fleet.endSlot; slot++) this.#add(slot);
    this.#restoredSince.clear();
  }

  /** Devices that are pending. */
  get pending(): number {
    return this.#since.size;
  }

  /** Ids of devices that are pending, and since when; not all of very many. */
  pendingSince(): [deviceId: string, sinceMs: number][] {
    const pending: [string, number][] = [];
    for (const [slot, sinceMs] of this.#since) {
      if (pending.length === MAX_PENDING_KEPT) break;
      const deviceId = this.#context.fleet.idAt(slot);
      if (deviceId !== undefined) pending.push([deviceId, sinceMs]);
    }
    return pending;
  }

  /** The device in the slot has other tags. */
  relabel(slot: number, deviceId: string): void {
    this.#grow(slot);
    if (this.#states[slot] === 0) this.#add(slot);
    else if (!this.#covers(slot, deviceId)) {
      if (this.#states[slot] === FIRING) this.#clear(slot);
      if (this.#states[slot] === PENDING) this.#endPending(slot);
      this.#setState(slot, 0);
    }
  }

  /** Another device is in the slot; `deviceId`: the one before. */
  replace(slot: number, deviceId: string | undefined): void {
    this.#grow(slot);
    if (this.#states[slot] === FIRING && deviceId !== undefined) {
      this.#context.findings.cleared(this.rule, deviceId);
    }
    if (this.#states[slot] === PENDING) this.#endPending(slot);
    this.#setState(slot, 0);
    this.#add(slot);
  }

  /** The devices in the slots have sent packets. */
  change(slots: readonly number[]): void {
    const { condition } = this.rule;
    if (condition.kind === "value") {
      this.#readValues();
      for (const slot of slots) {
        if (this.#states[slot] !== 0) this.#compare(slot, condition, this.#valueAt(slot));
      }
    } else if (condition.kind === "offline" && this.#firing > 0) {
      for (const slot of slots) if (this.#states[slot] === FIRING) this.#checkReturn(slot);
    }
  }

  /** Its packets per second are `rate`; those of a device that is not known for a minute are not low. */
  changeRate(slot: number, rate: number, isMinuteObserved: boolean): void {
    const { condition } = this.rule;
    if (this.#states[slot] === 0 || condition.kind !== "rate") return;
    const { fleet, moment } = this.#context;
    const isMinuteOld = moment.unixMs - fleet.firstSeenAt(slot) >= RATE_WINDOW_MS;
    const isLow = condition.below !== undefined && rate < condition.below + condition.hysteresis;
    if (isLow && !(isMinuteObserved && isMinuteOld)) return;
    this.#compare(slot, condition, rate);
  }

  /** Evaluates what is due without a packet. */
  checkDue(): void {
    const { condition } = this.rule;
    for (const slot of this.#due.take(this.#context.moment.monotonicMs)) {
      const state = this.#states[slot]!;
      if (condition.kind === "offline") {
        if (state === OK) this.#checkSilence(slot);
      } else if (state === PENDING) this.#checkPending(slot, condition.for_ms);
    }
  }

  #add(slot: number): void {
    const deviceId = this.#context.fleet.idAt(slot);
    if (deviceId === undefined || !this.#covers(slot, deviceId)) return;
    if (this.#states[slot] === 0) this.#setState(slot, OK);
    if (this.rule.condition.kind === "offline" && this.#states[slot] === OK) this.#checkSilence(slot);
    else this.change([slot]);
  }

  #covers(slot: number, deviceId: string): boolean {
    const tag = this.#tag;
    return this.#glob.matches(deviceId) &&
      (tag === undefined || this.#context.tags.tagAt(slot, tag[0]) === tag[1]);
  }

  /** The names are looked up anew with each read of the store. */
  #readValues(): void {
    const { condition } = this.rule;
    if (condition.kind === "value") this.#valueAt = this.#context.values.reader(condition.value);
  }

  #offlineAfterMs(slot: number): number {
    const { after_ms: afterMs = 0, intervals } = this.rule.condition as Extract<
      Condition,
      { kind: "offline" }
    >;
    if (intervals === undefined) return afterMs;
    const intervalMs = this.#context.fleet.intervalAt(slot);
    return intervalMs === null ? Infinity : Math.max(MIN_INTERVALS_MS, intervals * intervalMs);
  }

  #checkSilence(slot: number): void {
    const lastSeenMs = this.#context.fleet.lastSeenAt(slot);
    const afterMs = this.#offlineAfterMs(slot);
    // One that another program alone counted was never online.
    const leftMs = lastSeenMs === 0 || afterMs === Infinity
      ? MAX_INTERVALS_WAIT_MS
      : silenceLeftMs(this.#context, lastSeenMs, afterMs);
    if (leftMs === 0) return this.#fire(slot, lastSeenMs, undefined);
    const isFixed = lastSeenMs > 0 && "after_ms" in this.rule.condition;
    this.#schedule(slot, isFixed ? leftMs : Math.min(leftMs, MAX_INTERVALS_WAIT_MS));
  }

  #checkReturn(slot: number): void {
    const silentMs = this.#context.moment.unixMs - this.#context.fleet.lastSeenAt(slot);
    if (silentMs >= this.#offlineAfterMs(slot)) return;
    this.#clear(slot);
    this.#checkSilence(slot);
  }

  #compare(slot: number, range: Range, measured: number | undefined): void {
    const state = this.#states[slot]!;
    const isOutside = measured !== undefined && isOutsideOf(range, measured, state === FIRING);
    if (!isOutside) {
      if (state === FIRING) this.#clear(slot);
      else if (state === PENDING) {
        this.#endPending(slot);
        this.#setState(slot, OK);
      }
      return;
    }
    if (state !== OK) return;
    const { moment, fleet } = this.#context;
    if (range.for_ms === 0) return this.#fire(slot, moment.unixMs, measured);
    const sinceMs = Math.min(this.#restoredSince.get(fleet.idAt(slot)!) ?? Infinity, moment.unixMs);
    this.#setState(slot, PENDING);
    this.#since.set(slot, sinceMs);
    this.isPendingChanged = true;
    this.#schedule(slot, sinceMs + range.for_ms - moment.unixMs);
  }

  #checkPending(slot: number, forMs: number): void {
    const { moment, fleet } = this.#context;
    const sinceMs = this.#since.get(slot)!;
    const leftMs = sinceMs + forMs - moment.unixMs;
    if (leftMs > 0) return this.#schedule(slot, leftMs);
    const { condition } = this.rule;
    const measured = condition.kind === "value"
      ? this.#valueAt(slot)
      : fleet.minuteRateAt(slot, moment.unixMs);
    this.#endPending(slot);
    this.#fire(slot, sinceMs, measured);
  }

  #endPending(slot: number): void {
    this.#since.delete(slot);
    this.isPendingChanged = true;
  }

  #fire(slot: number, sinceMs: number, value: number | undefined): void {
    this.#setState(slot, FIRING);
    this.#context.findings.fired(this.rule, [this.#context.fleet.idAt(slot)!], sinceMs, value);
  }

  #clear(slot: number): void {
    this.#setState(slot, OK);
    this.#context.findings.cleared(this.rule, this.#context.fleet.idAt(slot)!);
  }

  /** An earlier due time is kept: what is looked at too early is scheduled again. */
  #schedule(slot: number, afterMs: number): void {
    this.#due.add(slot, this.#context.moment.monotonicMs + afterMs);
  }

  #grow(slot: number): void {
    if (slot < this.#states.length) return;
    const length = Math.max(slot + 1, 2 * this.#states.length);
    const states = new Uint8Array(length);
    states.set(this.#states);
    this.#states = states;
  }

  #setState(slot: number, state: number): void {
    if (this.#states[slot] === FIRING) this.#firing--;
    if (state === FIRING) this.#firing++;
    this.#states[slot] = state;
  }
}

/** Whether a measurement is outside of the range; once it `was`, it has to come back by more than the hysteresis. */
export function isOutsideOf(
  { above = Infinity, below = -Infinity, hysteresis }: Range,
  measured: number,
  was: boolean,
): boolean {
  const margin = was ? hysteresis : 0;
  return measured > above - margin || measured < below + margin;
}
