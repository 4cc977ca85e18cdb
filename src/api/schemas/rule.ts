/**
 * Rules of alerts, and mutes.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

import { CHANNEL_NAMES } from "../../alerts/channels/channel.ts";
import { MAX_DEVICE_ID_BYTES } from "../../protocol/field_limits.ts";
import { MAX_ALERT_DOCUMENTS } from "../../store/alerts.ts";
import { count, unixMs } from "./fields.ts";
import { choice } from "./parameters.ts";

/** Characters of the name of a rule. */
export const MAX_RULE_NAME = 100;

/** Characters of a comment. */
const MAX_COMMENT = 500;

/** No time of a rule is longer: 30 days. */
const MAX_RULE_MS = 30 * 86_400_000;

/** A mute that is longer is one that was forgotten: a year. */
export const MAX_MUTE_MS = 366 * 86_400_000;

const idExpected = "expected 1 to 64 small letters, digits or -";
const nameExpected = `expected 1 to ${MAX_RULE_NAME} characters, none of them a control character`;
const patternExpected = `expected 1 to ${MAX_DEVICE_ID_BYTES} bytes, in which * stands for any text`;
const tagExpected = "expected a tag as key=value of 1 to 64 and 1 to 256 characters, or null";
const numberExpected = "expected a number from -1e15 to 1e15";
const bodyExpected = "expected a JSON object with these fields only";
const rangeExpected = "expected above, or below, or both, of which below is the lower one";

/** A text without control characters. */
function plainText(minimum: number, maximum: number, expected: string) {
  return z.string({ error: expected }).min(minimum, expected).max(maximum, expected)
    .refine((text) => text.isWellFormed() && !/\p{Cc}/u.test(text), { error: expected });
}

/** @internal */
export const ruleId = z.string({ error: idExpected }).regex(/^[a-z0-9-]{1,64}$/, idExpected)
  .openapi({ description: "Unique among rules", minLength: 1, maxLength: 64, example: "greenhouse-hot" });

const devices = z.string({ error: patternExpected })
  .refine(
    (text) =>
      text !== "" && text.isWellFormed() && !/\p{Cc}/u.test(text) &&
      new TextEncoder().encode(text).length <= MAX_DEVICE_ID_BYTES,
    { error: patternExpected },
  ).openapi({
    description: "Ids of devices; * stands for any text, so that * alone is all of them",
    minLength: 1,
    maxLength: MAX_DEVICE_ID_BYTES,
    example: "greenhouse-*",
  });

const tag = z.string({ error: tagExpected }).max(321, tagExpected)
  .refine((text) => /^[^=\p{Cc}]{1,64}=[^=\p{Cc}]{1,256}$/u.test(text), { error: tagExpected })
  .nullable().openapi({
    description: "Only devices that have this tag; null: whatever tags they have",
    maxLength: 321,
    example: "site=oslo",
  });

function wholeMs(minimum: number, description: string) {
  const expected = `expected a whole number of milliseconds from ${minimum} to ${MAX_RULE_MS}`;
  return z.int({ error: expected }).min(minimum, expected).max(MAX_RULE_MS, expected).openapi({
    description,
  });
}

function measure(description: string) {
  return z.number({ error: numberExpected }).min(-1e15, numberExpected).max(1e15, numberExpected)
    .openapi({ description });
}

const forMs = wholeMs(0, "How long it lasts before the rule fires, milliseconds").default(0);

const range = {
  above: measure("It applies above this").optional(),
  below: measure("It applies below this").optional(),
  hysteresis: z.number({ error: numberExpected }).min(0, numberExpected).max(1e15, numberExpected).default(0)
    .openapi({ description: "By how much more it has to come back before the rule ceases to apply" }),
  for_ms: forMs,
};

const isRange = ({ above, below }: { above?: number | undefined; below?: number | undefined }) =>
  (above !== undefined || below !== undefined) && (below ?? -Infinity) < (above ?? Infinity);

const offline = z.strictObject({
  kind: z.literal("offline"),
  after_ms: wholeMs(1_000, "A device sends nothing for so long, milliseconds").optional(),
  intervals: z.number({ error: "expected a number from 1.5 to 1000" })
    .min(1.5, "expected a number from 1.5 to 1000").max(1_000, "expected a number from 1.5 to 1000")
    .openapi({ description: "Or for so many of its usual intervals, and no less than 10 s" })
    .optional(),
}, { error: bodyExpected }).refine(
  ({ after_ms, intervals }) => (after_ms === undefined) !== (intervals === undefined),
  { error: "expected after_ms or intervals, one of them" },
);

/** @internal */
const condition = z.discriminatedUnion("kind", [
  offline,
  z.strictObject({
    kind: z.literal("value"),
    value: plainText(1, 128, "expected the name of a value, 1 to 128 characters")
      .openapi({ description: "Name of the value", minLength: 1, maxLength: 128, example: "temperature" }),
    ...range,
  }, { error: bodyExpected }).refine(isRange, { error: rangeExpected }),
  z.strictObject({ kind: z.literal("rate"), ...range }, { error: bodyExpected })
    .refine(isRange, { error: rangeExpected }),
  z.strictObject({
    kind: z.literal("group"),
    after_ms: wholeMs(1_000, "None of the devices sends anything for so long, milliseconds"),
  }, { error: bodyExpected }),
  z.strictObject({
    kind: z.literal("rejected"),
    above: z.number({ error: numberExpected }).min(0, numberExpected).max(1e15, numberExpected)
      .openapi({ description: "More packets a minute are rejected, of all devices" }),
    for_ms: forMs,
  }, { error: bodyExpected }),
], { error: "expected a condition with kind offline, value, rate, group or rejected" }).openapi({
  description:
    "What it watches for: a device that is offline; a value or the packets per second (over the last " +
    "minute) of a device that are outside of a range; a group of which no device sends; packets rejected",
});

const channelsExpected = `expected some of ${CHANNEL_NAMES.join(", ")}, each once, or null`;

const ruleFields = {
  name: plainText(1, MAX_RULE_NAME, nameExpected)
    .openapi({ minLength: 1, maxLength: MAX_RULE_NAME, example: "Greenhouse too hot" }),
  enabled: z.boolean({ error: "expected true or false" })
    .openapi({ description: "False: it is kept and not evaluated" }),
  severity: choice(["warning", "critical"]),
  devices,
  tag,
  channels: z.array(choice(CHANNEL_NAMES), { error: channelsExpected }).max(CHANNEL_NAMES.length)
    .refine((names) => new Set(names).size === names.length, { error: channelsExpected }).nullable()
    .openapi({ description: "Channels that get its messages, none if it is empty; null: all" }),
  condition,
};

/** Of a rule that is added: all but its name and its condition may be left out. */
const newRuleFields = {
  ...ruleFields,
  enabled: ruleFields.enabled.default(true),
  severity: ruleFields.severity.default("warning"),
  devices: devices.default("*"),
  tag: tag.default(null),
  channels: ruleFields.channels.default(null),
};

/** A rule. */
export type Rule = z.infer<typeof Rule>;

/** @internal */
export const Rule = z.object({
  id: ruleId,
  version: count.openapi({ description: "1 when it was added; one more with each change" }),
  ...ruleFields,
  summary: z.string().openapi({ description: "What it watches for, in words" }),
  firing: count.openapi({ description: "Open incidents of it" }),
  pending: count.openapi({ description: "Devices to which it applies when that has lasted for long enough" }),
}).openapi("Rule");

/** @internal */
export const RuleRequest = z.strictObject(newRuleFields, { error: bodyExpected }).openapi("RuleRequest");

/** @internal */
export const RuleChange = z.strictObject({
  version: z.int({ error: "expected the version that is changed" }).min(1)
    .openapi({ description: "The one that was read: a change in between is a conflict" }),
  ...ruleFields,
}, { error: bodyExpected }).openapi("RuleChange");

/** All rules. */
export type RuleList = z.infer<typeof RuleList>;

/** @internal */
export const RuleList = z.object({
  rules: z.array(Rule),
  channels: z.array(z.string()).openapi({ description: "Channels that are configured" }),
}).openapi("RuleList");

const rulesExpected = `expected 1 to ${MAX_ALERT_DOCUMENTS.rule} rules, each id once`;

/** Rules to be imported. */
export type RuleImport = z.infer<typeof RuleImport>;

/** @internal */
export const RuleImport = z.object({
  rules: z.array(z.object({ id: ruleId, ...newRuleFields }), { error: rulesExpected })
    .min(1, rulesExpected).max(MAX_ALERT_DOCUMENTS.rule, rulesExpected)
    .refine((rules) => new Set(rules.map(({ id }) => id)).size === rules.length, { error: rulesExpected })
    .openapi({ description: "As GET /rules lists them; those of an id that exists replace it" }),
}, { error: "expected a JSON object with rules" }).openapi("RuleImport");

/** @internal */
export const RuleImported = z.object({ imported: count }).openapi("RuleImported");

/**
 * Names a rule.
 * @internal
 */
export const RulePath = z.strictObject({ id: ruleId.openapi({ param: { name: "id", in: "path" } }) });

/** A mute. */
export type Mute = z.infer<typeof Mute>;

const muteFields = {
  rule_id: ruleId.nullable().openapi({ description: "The rule that it is for; null: all" }),
  devices,
  tag,
  comment: plainText(0, MAX_COMMENT, `expected ${MAX_COMMENT} characters at most`)
    .openapi({ description: "Why, for people" }),
  repeat: choice(["none", "daily", "weekly"]).openapi({
    description: "Whether it begins again a day or a week later, by UTC",
  }),
};

/** @internal */
export const Mute = z.object({
  id: ruleId,
  ...muteFields,
  from_ms: unixMs,
  until_ms: unixMs,
  active: z.boolean().openapi({ description: "Whether it is in effect now" }),
}).openapi("Mute");

const timeExpected = "expected Unix milliseconds";
const durationExpected = `expected a whole number of milliseconds from 1000 to ${MAX_MUTE_MS}`;

/** @internal */
export const MuteRequest = z.strictObject({
  rule_id: muteFields.rule_id.default(null),
  devices: devices.default("*"),
  tag: tag.default(null),
  comment: muteFields.comment.default(""),
  repeat: muteFields.repeat.default("none"),
  from_ms: z.int({ error: timeExpected }).min(0, timeExpected).max(8.64e15, timeExpected).nullable().default(
    null,
  )
    .openapi({ description: "When it begins, Unix milliseconds; null: now" }),
  for_ms: z.int({ error: durationExpected }).min(1_000, durationExpected).max(MAX_MUTE_MS, durationExpected)
    .openapi({ description: "How long it lasts, milliseconds" }),
}, { error: bodyExpected }).openapi("MuteRequest");

/** All mutes. */
export type MuteList = z.infer<typeof MuteList>;

/** @internal */
export const MuteList = z.object({ mutes: z.array(Mute) }).openapi("MuteList");
