/**
 * A rule that applies to devices together: an outage of a group, or rejected packets.
 *
 * @module
 */
import { DeviceGlob } from "./device_glob.ts";
import type { RuleContext } from "./facts.ts";
import type { Condition, Rule } from "./rule.ts";
import { silenceLeftMs } from "./silence.ts";

/** A rule with its one state. */
export class FleetRule {
  /** What it is made of. */
  readonly rule: Rule & { readonly condition: Extract<Condition, { kind: "group" | "rejected" }> };
  readonly #context: RuleContext;
  readonly #glob: DeviceGlob;
  readonly #tag: readonly [key: string, value: string] | undefined;
  /** Slots of the group. */
  readonly #members = new Set<number>();
  /** When any of them was last seen; undefined: it is to be determined. */
  #newestMs: number | undefined;
  #isFiring: boolean;
  #sinceMs: number | undefined;
  /** Whether since when it is pending is another time than when it was read last. */
  isPendingChanged = false;

  /** `isFiring` and `sinceMs`: what another process had found. */
  constructor(
    rule: FleetRule["rule"],
    context: RuleContext,
    isFiring: boolean,
    sinceMs: number | undefined,
  ) {
    this.rule = rule;
    this.#context = context;
    this.#glob = new DeviceGlob(rule.devices);
    const [key, value] = rule.tag?.split("=", 2) ?? [];
    this.#tag = key === undefined ? undefined : [key, value ?? ""];
    this.#isFiring = isFiring;
    this.#sinceMs = sinceMs;
    if (rule.condition.kind !== "group") return;
    for (let slot = 0; slot < context.fleet.endSlot; slot++) this.replace(slot);
  }

  /** 1 while it is pending. */
  get pending(): number {
    return this.#sinceMs === undefined || this.#isFiring ? 0 : 1;
  }

  /** Since when it is pending, under an empty id. */
  pendingSince(): [deviceId: string, sinceMs: number][] {
    return this.#sinceMs === undefined || this.#isFiring ? [] : [["", this.#sinceMs]];
  }

  /** The device in the slot has other tags. */
  relabel(slot: number): void {
    this.replace(slot);
  }

  /** Another device is in the slot. */
  replace(slot: number): void {
    if (this.rule.condition.kind !== "group") return;
    const { fleet, tags } = this.#context;
    const deviceId = fleet.idAt(slot);
    const tag = this.#tag;
    const isMember = deviceId !== undefined && this.#glob.matches(deviceId) &&
      (tag === undefined || tags.tagAt(slot, tag[0]) === tag[1]);
    if (isMember) {
      this.#members.add(slot);
      this.change([slot]);
    } else if (this.#members.delete(slot)) this.#newestMs = undefined;
  }

  /** The devices in the slots have sent packets. */
  change(slots: readonly number[]): void {
    if (this.rule.condition.kind !== "group") return;
    for (const slot of slots) {
      const lastSeenMs = this.#context.fleet.lastSeenAt(slot);
      if (this.#newestMs === undefined || lastSeenMs <= this.#newestMs || !this.#members.has(slot)) continue;
      this.#newestMs = lastSeenMs;
    }
  }

  /** Evaluates it; once in a while. */
  check(): void {
    const { condition } = this.rule;
    if (condition.kind === "group") this.#checkGroup(condition.after_ms);
    else this.#checkRejected(condition.above, condition.for_ms);
  }

  #checkGroup(afterMs: number): void {
    const { fleet, moment, findings } = this.#context;
    if (this.#newestMs === undefined) {
      this.#newestMs = 0;
      for (const slot of this.#members) this.#newestMs = Math.max(this.#newestMs, fleet.lastSeenAt(slot));
    }
    const newestMs = this.#newestMs;
    if (this.#isFiring) {
      if (newestMs > 0 && moment.unixMs - newestMs >= afterMs) return;
      this.#isFiring = false;
      findings.cleared(this.rule, undefined);
    } else if (newestMs > 0 && silenceLeftMs(this.#context, newestMs, afterMs) === 0) {
      this.#isFiring = true;
      findings.fired(this.rule, [...this.#members].map((slot) => fleet.idAt(slot)!), newestMs, undefined);
    }
  }

  #checkRejected(above: number, forMs: number): void {
    const { unixMs, rejectedPerMinute, isRejectedKnown } = this.#context.moment;
    if (rejectedPerMinute <= above) {
      // After a start: another process may have seen more of the minute.
      if (!isRejectedKnown) return;
      if (this.#sinceMs !== undefined) this.isPendingChanged = true;
      this.#sinceMs = undefined;
      if (this.#isFiring) this.#context.findings.cleared(this.rule, undefined);
      this.#isFiring = false;
      return;
    }
    if (this.#sinceMs === undefined) this.isPendingChanged = true;
    this.#sinceMs ??= unixMs;
    if (this.#isFiring || unixMs - this.#sinceMs < forMs) return;
    this.#isFiring = true;
    this.#context.findings.fired(this.rule, [], this.#sinceMs, rejectedPerMinute);
  }
}
