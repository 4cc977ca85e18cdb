/**
 * Evaluates all rules, of devices that changed and of what has become due: its cost grows with what happens and not
 * with the number of devices.
 *
 * @module
 */
import { DeviceRule, type Restored } from "./device_rule.ts";
import type { Findings, FleetFacts, Moment, RuleContext, TagFacts, ValueFacts } from "./facts.ts";
import { FleetRule } from "./fleet_rule.ts";
import type { Rule } from "./rule.ts";

/** The rate of each device is compared this often: it changes without packets. */
const RATE_SWEEP_MS = 5_000;

/** Rates are over a minute, and begin with the index. */
const RATE_WINDOW_MS = 60_000;

/** Reports of ingests are up to so late. */
const OBSERVED_SLACK_MS = 5_000;

/** What {@linkcode Evaluator} needs. */
export interface EvaluatorOptions {
  /** The devices. */
  readonly fleet: FleetFacts;
  /** Their values. */
  readonly values: ValueFacts;
  /** Their tags. */
  readonly tags: TagFacts;
  /** Which time counts as silence. */
  readonly observedTime: RuleContext["observedTime"];
  /** Receives where rules begin and cease to apply. */
  readonly findings: Findings;
  /** Now. */
  readonly moment: Moment;
}

/** All rules with their states of all devices. */
export class Evaluator {
  readonly #context: RuleContext;
  #rules: readonly (DeviceRule | FleetRule)[] = [];
  /** By slot: which device was there. */
  readonly #ids: (string | undefined)[] = [];
  /** Where the comparison of rates goes on. */
  #rateSlot = 0;
  #ratesAtMs: number;

  /** Has no rules yet. */
  constructor({ moment, ...options }: EvaluatorOptions) {
    this.#ratesAtMs = moment.monotonicMs;
    this.#context = { ...options, moment };
    options.fleet.changes().take();
    for (let slot = 0; slot < options.fleet.endSlot; slot++) this.#ids[slot] = options.fleet.idAt(slot);
  }

  /** The rules, with how many devices are pending. */
  get rules(): readonly (DeviceRule | FleetRule)[] {
    return this.#rules;
  }

  /** Evaluates these rules from now on; those whose version is another than before begin with what `restored` returns. */
  setRules(rules: readonly Rule[], moment: Moment, restored: (rule: Rule) => Restored): void {
    this.#context.moment = moment;
    const before = new Map(this.#rules.map((active) => [active.rule.id, active]));
    this.#rules = rules.map((rule) => {
      const active = before.get(rule.id);
      return active?.rule.version === rule.version ? active : this.#start(rule, restored(rule));
    });
  }

  /** Evaluates what changed since the call before, and what is due. */
  step(moment: Moment): void {
    this.#context.moment = moment;
    const { fleet } = this.#context;
    const slots = fleet.changes().take();
    for (const slot of slots) {
      const deviceId = fleet.idAt(slot);
      if (deviceId === this.#ids[slot]) continue;
      for (const rule of this.#rules) rule.replace(slot, this.#ids[slot]);
      this.#ids[slot] = deviceId;
    }
    for (const rule of this.#rules) {
      rule.change(slots);
      if (rule instanceof DeviceRule) rule.checkDue();
    }
    this.#sweepRates(moment);
    for (const rule of this.#rules) if (rule instanceof FleetRule) rule.check();
  }

  /** These devices have other tags. */
  relabel(deviceIds: Iterable<string>, moment: Moment): void {
    this.#context.moment = moment;
    const rules = this.#rules.filter(({ rule }) => rule.tag !== null);
    for (const deviceId of deviceIds) {
      const slot = this.#context.fleet.slotOf(deviceId);
      // One that is new is among the changes.
      if (slot === undefined || this.#ids[slot] !== deviceId) continue;
      for (const rule of rules) rule.relabel(slot, deviceId);
    }
  }

  #start(rule: Rule, restored: Restored): DeviceRule | FleetRule {
    const { condition } = rule;
    if (condition.kind === "group" || condition.kind === "rejected") {
      const { isFiring, pending } = restored;
      return new FleetRule({ ...rule, condition }, this.#context, isFiring, pending.get(""));
    }
    return new DeviceRule({ ...rule, condition }, this.#context, restored);
  }

  #sweepRates(moment: Moment): void {
    const passedMs = moment.monotonicMs - this.#ratesAtMs;
    this.#ratesAtMs = moment.monotonicMs;
    const { fleet, observedTime } = this.#context;
    const rules = this.#rules.filter((rule): rule is DeviceRule => rule.rule.condition.kind === "rate");
    if (rules.length === 0 || fleet.ageMs(moment.unixMs) < RATE_WINDOW_MS) return;
    const observedMs = observedTime.observedSince(moment.unixMs - RATE_WINDOW_MS, moment.unixMs);
    const isObserved = moment.isWhole && observedMs >= RATE_WINDOW_MS - OBSERVED_SLACK_MS;
    const end = fleet.endSlot;
    let count = Math.min(end, Math.ceil(end * passedMs / RATE_SWEEP_MS));
    for (; count > 0; count--) {
      const slot = this.#rateSlot = (this.#rateSlot + 1) % end;
      if (fleet.idAt(slot) === undefined) continue;
      const rate = fleet.minuteRateAt(slot, moment.unixMs);
      for (const rule of rules) rule.changeRate(slot, rate, isObserved);
    }
  }
}
