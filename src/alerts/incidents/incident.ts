/**
 * An incident: devices to which one rule began to apply together, from the first one to the last.
 *
 * @module
 */
import type { Condition, Rule, Severity } from "../rules/rule.ts";
import { describeCondition, parseObject } from "../rules/rule.ts";

/** Devices that an incident names in messages and lists. */
export const FIRST_DEVICES = 10;

/** What a message was about. */
export type MessageKind = "firing" | "update" | "resolved";

/** As it is stored and shown; times are Unix milliseconds. */
export interface Incident {
  /** One more than the incident before it. */
  readonly id: number;
  /** The rule that applied. */
  readonly rule_id: string;
  /** Its name when it began to apply. */
  readonly rule_name: string;
  /** Its condition in words. */
  readonly condition: string;
  /** What it watches for. */
  readonly kind: Condition["kind"];
  /** How urgent it is. */
  readonly severity: Severity;
  /** Names of the channels that get its messages; null: all. */
  readonly channels: readonly string[] | null;
  /** `resolved`: the rule applies to none of its devices any more. */
  state: "firing" | "resolved";
  /** When it was found. */
  readonly started_ms: number;
  /** Since when the rule has applied, as far as that is known: the last packet of a device, for example. */
  readonly since_ms: number;
  /** When a device was added last. */
  joined_ms: number;
  /** When it ended; null: it has not. */
  resolved_ms: number | null;
  /** Devices that it has had; 0: it is about no device in particular. */
  devices: number;
  /** Devices to which the rule applies now. */
  firing: number;
  /** The first of its devices, {@linkcode FIRST_DEVICES} at most. */
  first: readonly string[];
  /** What was measured when it began, if it is about a measurement. */
  readonly value: number | null;
  /** The message that was made last; null: none, as long as it is new or muted. */
  sent: { readonly kind: MessageKind; readonly at_ms: number; readonly devices: number } | null;
}

/** Which devices an incident has; some of very many. */
export interface IncidentDevices {
  /** Those to which the rule applies. */
  readonly firing: readonly string[];
  /** Those to which it does not any more. */
  readonly cleared: readonly string[];
}

/** A new one, without devices. */
export function newIncident(
  rule: Rule,
  found: {
    readonly id: number;
    readonly atMs: number;
    readonly sinceMs: number;
    readonly value: number | undefined;
  },
): Incident {
  return {
    ...{ id: found.id, rule_id: rule.id, rule_name: rule.name },
    ...{ condition: describeCondition(rule.condition), kind: rule.condition.kind },
    ...{ severity: rule.severity, channels: rule.channels, state: "firing" },
    ...{ started_ms: found.atMs, since_ms: found.sinceMs, joined_ms: found.atMs, resolved_ms: null },
    ...{ devices: 0, firing: 0, first: [], value: found.value ?? null, sent: null },
  };
}

/** The incident of an entry of the state; undefined: another program wrote it. */
export function incidentOf(body: string): Incident | undefined {
  const parsed = parseObject(body) as Incident | undefined;
  return typeof parsed?.id === "number" && typeof parsed.state === "string" ? parsed : undefined;
}

/** Names of entries of the state's memory. */
export const memoryFields = {
  devices: (incidentId: number | string): string => `devices:${incidentId}`,
  pending: (ruleId: string): string => `pending:${ruleId}`,
  message: (messageId: number): string => `message:${messageId}`,
  /** The numbers used last, and when the state was written last. */
  progress: "progress",
};

/** The part of a field's name after `prefix`; undefined: it has another. */
export function afterPrefix(field: string, prefix: "devices" | "pending" | "message"): string | undefined {
  return field.startsWith(`${prefix}:`) ? field.slice(prefix.length + 1) : undefined;
}
