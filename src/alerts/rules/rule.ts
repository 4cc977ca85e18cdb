/**
 * Rules of alerts, as people set them.
 *
 * @module
 */
import type { AlertDocument } from "../../store/alerts.ts";

/** What a rule watches for; times are milliseconds. */
export type Condition =
  /** A device sends nothing for `after_ms`, or for so many of its usual intervals. */
  | { readonly kind: "offline"; readonly after_ms?: number; readonly intervals?: number }
  /** A value of its payload is outside of a range for `for_ms`. */
  | { readonly kind: "value"; readonly value: string } & Range
  /** Its packets per second, over the last minute, are outside of a range for `for_ms`. */
  | { readonly kind: "rate" } & Range
  /** No device of all that the rule covers sends anything for `after_ms`. */
  | { readonly kind: "group"; readonly after_ms: number }
  /** More packets a minute than `above` are rejected, whatever device sent them, for `for_ms`. */
  | { readonly kind: "rejected"; readonly above: number; readonly for_ms: number };

/** It begins above or below a bound and ends inside of it, and farther from it than `hysteresis`. */
export interface Range {
  /** Undefined: there is no upper bound. */
  readonly above?: number;
  /** Undefined: there is no lower bound. */
  readonly below?: number;
  /** 0 or more, in the unit of the bounds. */
  readonly hysteresis: number;
  /** How long it lasts before the rule fires. */
  readonly for_ms: number;
}

/** How urgent it is. */
export type Severity = "warning" | "critical";

/** What people set of a rule, as it is stored and exported. */
export interface RuleBody {
  /** What people call it. */
  readonly name: string;
  /** False: it is kept and not evaluated. */
  readonly enabled: boolean;
  /** How urgent it is. */
  readonly severity: Severity;
  /** Ids of the devices that it covers, `*` in it stands for any text; `*`: all. */
  readonly devices: string;
  /** Only devices that have this tag, as `key=value`; null: whatever tags they have. */
  readonly tag: string | null;
  /** Names of the channels that get its messages; null: all that are configured. */
  readonly channels: readonly string[] | null;
  /** What it watches for. */
  readonly condition: Condition;
}

/** A rule in the store. */
export interface Rule extends RuleBody {
  /** Unique. */
  readonly id: string;
  /** Of its document. */
  readonly version: number;
}

/** The rule of a document; undefined: another program wrote it. */
export function ruleOf({ id, version, body }: AlertDocument): Rule | undefined {
  const parsed = parseObject(body) as RuleBody | undefined;
  return typeof parsed?.condition?.kind === "string" ? { ...parsed, id, version } : undefined;
}

/** What JSON holds, if that is an object. */
export function parseObject(text: string): object | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/** The condition in words. */
export function describeCondition(condition: Condition): string {
  switch (condition.kind) {
    case "offline":
      return condition.intervals === undefined
        ? `no packet for ${duration(condition.after_ms ?? 0)}`
        : `no packet for ${condition.intervals} times its usual interval`;
    case "value":
      return `${condition.value} ${describeRange(condition)}`;
    case "rate":
      return `packets per second ${describeRange(condition)}`;
    case "group":
      return `no packet from any of the group for ${duration(condition.after_ms)}`;
    case "rejected":
      return `more than ${condition.above} packets a minute rejected${lasting(condition.for_ms)}`;
  }
}

function describeRange({ above, below, for_ms }: Range): string {
  const bounds = [
    ...above === undefined ? [] : [`above ${above}`],
    ...below === undefined ? [] : [`below ${below}`],
  ];
  return bounds.join(" or ") + lasting(for_ms);
}

function lasting(ms: number): string {
  return ms === 0 ? "" : ` for ${duration(ms)}`;
}

const units = [["d", 86_400_000], ["h", 3_600_000], ["min", 60_000], ["s", 1_000], ["ms", 1]] as const;

/** In the largest unit of which it is a whole number, such as `90 s` and `2 min`. */
export function duration(ms: number): string {
  const [name, unit] = units.find(([, unit]) => ms >= unit && ms % unit === 0) ?? ["ms", 1];
  return `${ms / unit} ${name}`;
}
