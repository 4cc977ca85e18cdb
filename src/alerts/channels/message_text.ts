/**
 * Messages about incidents in words.
 *
 * @module
 */
import type { Incident, MessageKind } from "../incidents/incident.ts";
import { duration } from "../rules/rule.ts";

/** A message for people. */
export interface MessageText {
  /** One line. */
  readonly title: string;
  /** What is the matter, and the first devices. */
  readonly text: string;
}

/** A message about an incident in words. */
export function messageText(kind: MessageKind | "test", incident: Incident): MessageText {
  const { rule_name, severity, condition, devices, firing, first, value } = incident;
  const name = visible(rule_name);
  const named = first.slice(0, devices).map(visible).join(", ");
  const more = devices > first.length
    ? `${named === "" ? "" : " and "}${count(devices - first.length)} more`
    : "";
  const measured = value !== null && devices <= 1 ? ` (${value})` : "";
  const text = `${visible(condition)}${measured}${devices === 0 ? "" : `: ${named}${more}`}`;
  if (kind === "test") return { title: `Test: ${name}`, text };
  const subject = devices === 0
    ? ""
    : devices === 1
    ? `: ${visible(first[0] ?? "1 device")}`
    : `: ${count(devices)} devices`;
  if (kind === "resolved") {
    const lastedMs = (incident.resolved_ms ?? incident.started_ms) - incident.started_ms;
    return {
      title: `Resolved: ${name}${subject}`,
      text: `${text}; after ${duration(Math.max(1, Math.round(lastedMs / 1_000)) * 1_000)}`,
    };
  }
  const now = kind === "update" && firing !== devices ? `, ${count(firing)} of them now` : "";
  return { title: `${severity === "critical" ? "Critical" : "Warning"}: ${name}${subject}${now}`, text };
}

function count(number: number): string {
  return number.toLocaleString("en-US");
}

/** Without characters that change how a text is shown, or break its line. */
export function visible(text: string): string {
  return text.toWellFormed().replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "\ufffd");
}
