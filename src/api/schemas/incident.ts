/**
 * Incidents, and tests of channels.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

import { CHANNEL_NAMES } from "../../alerts/channels/channel.ts";
import { count, unixMs } from "./fields.ts";
import { choice, integer, limit, query, text } from "./parameters.ts";

/** Characters of the note of an acknowledgement. */
const MAX_NOTE = 500;

const noteExpected = `expected a text of ${MAX_NOTE} characters at most, without control characters`;

/** An incident. */
export type Incident = z.infer<typeof Incident>;

/** @internal */
export const Incident = z.object({
  id: count,
  rule_id: z.string(),
  rule_name: z.string(),
  condition: z.string().openapi({ description: "In words" }),
  kind: z.enum(["offline", "value", "rate", "group", "rejected"]),
  severity: z.enum(["warning", "critical"]),
  state: z.enum(["firing", "resolved"]),
  started_ms: unixMs,
  since_ms: unixMs.openapi({ description: "Since when the rule has applied, Unix milliseconds" }),
  joined_ms: unixMs.openapi({ description: "When a device was added last, Unix milliseconds" }),
  resolved_ms: unixMs.nullable(),
  devices: count.openapi({ description: "Devices that it has had; 0: it is about no device in particular" }),
  firing: count.openapi({ description: "Devices to which the rule applies now" }),
  first: z.array(z.string()).openapi({ description: "Ids of the first ten" }),
  value: z.number().nullable().openapi({ description: "What was measured when it began" }),
  sent_ms: unixMs.nullable().openapi({
    description:
      "When the last message about it was made; null: none was, it is new, ended at once, or is muted",
  }),
  acknowledged: z.object({ at_ms: unixMs, by: z.string(), note: z.string() }).nullable(),
}).openapi("Incident");

/** A page of incidents. */
export type IncidentList = z.infer<typeof IncidentList>;

/** @internal */
export const IncidentList = z.object({
  incidents: z.array(Incident),
  firing: count.openapi({ description: "Open incidents of all rules" }),
  next: count.nullable().openapi({ description: "`before` of the next page; null on the last one" }),
}).openapi("IncidentList");

/**
 * Which incidents to list.
 * @internal
 */
export const IncidentParameters = query({
  state: choice(["firing", "resolved"]).optional(),
  rule: text(64, "Of the rule with this id only").optional(),
  before: integer(0, 10 ** 15 - 1, { description: "Those before this id; default: from the newest" })
    .optional(),
  limit,
});

/** An incident with its devices. */
export type IncidentDetails = z.infer<typeof IncidentDetails>;

/** @internal */
export const IncidentDetails = Incident.extend({
  firing_devices: z.array(z.string()).openapi({
    description: "Devices to which the rule applies now; of an open incident 20,000 are listed at most",
  }),
  cleared_devices: z.array(z.string()).openapi({
    description: "Those to which it does not any more; of one that has ended 1,000 are listed at most",
  }),
}).openapi("IncidentDetails");

/**
 * Names an incident.
 * @internal
 */
export const IncidentPath = z.strictObject({
  id: integer(0, 10 ** 15 - 1).openapi({ example: 1, param: { name: "id", in: "path" } }),
});

/** @internal */
export const AcknowledgeRequest = z.strictObject({
  note: z.string({ error: noteExpected }).max(MAX_NOTE, noteExpected)
    .refine((note) => note.isWellFormed() && !/\p{Cc}/u.test(note), { error: noteExpected }),
}, { error: "expected a JSON object with a note, which may be empty" }).openapi("AcknowledgeRequest");

/** What became of a test of a channel. */
export type ChannelTest = z.infer<typeof ChannelTest>;

/** @internal */
export const ChannelTest = z.object({
  accepted: z.boolean(),
  reason: z.string().openapi({ description: "Why it was not accepted; else empty" }),
}).openapi("ChannelTest");

/**
 * Names a channel.
 * @internal
 */
export const ChannelPath = z.strictObject({
  name: choice(CHANNEL_NAMES).openapi({ param: { name: "name", in: "path" } }),
});
