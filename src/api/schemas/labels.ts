/**
 * Names, tags and notes of devices.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

import type { TagFilter } from "../../fleet/label_index.ts";
import {
  isLabelText,
  isTagKey,
  isTagValue,
  MAX_NAME_BYTES,
  MAX_NOTES_BYTES,
  MAX_TAG_KEY,
  MAX_TAG_VALUE_BYTES,
  MAX_TAGS,
} from "../../store/labels.ts";
import { count, rate } from "./fields.ts";
import { deviceId, integer, query } from "./parameters.ts";

const MAX_TAG_FILTERS = 20;

/** What each part of labels may be: what an error names as expected. */
export const expected = {
  name: `expected a text of at most ${MAX_NAME_BYTES} bytes of UTF-8 without control characters, or null`,
  notes:
    `expected a text of at most ${MAX_NOTES_BYTES} bytes of UTF-8 without control characters but line ends and ` +
    "tabs, or null",
  tags: `expected an object of at most ${MAX_TAGS} tags`,
  key: `expected a key of at most ${MAX_TAG_KEY} letters, digits, "_", "." and "-" that begins with a letter`,
  value:
    `expected a value of at most ${MAX_TAG_VALUE_BYTES} bytes of UTF-8 without control characters, or null`,
} as const;

const tagsType = {
  type: "object",
  additionalProperties: { type: "string", minLength: 1, maxLength: MAX_TAG_VALUE_BYTES },
  maxProperties: MAX_TAGS,
} as const;

/** @internal */
export const nameAndTags = {
  name: z.string().nullable().openapi({ description: "Display name; null: none" }),
  tags: z.record(z.string(), z.string()).openapi({ ...tagsType, example: { site: "oslo", model: "x2" } }),
};

/** @internal Null and an empty text stand for none. */
function labelText(part: "name" | "notes", maxBytes: number, lines = false) {
  return z.string({ error: expected[part] }).nullable()
    .refine((text) => text === null || isLabelText(text, maxBytes, lines), { error: expected[part] })
    .transform((text) => text ?? "").optional()
    .openapi({ type: ["string", "null"], maxLength: maxBytes });
}

/** @internal By hand, as a record of the library skips the key `__proto__`. */
const tagChanges = z.unknown().transform((tags, c): ReadonlyMap<string, string> => {
  const problem = (message: string) => {
    c.issues.push({ code: "custom", message, input: tags });
    return z.NEVER;
  };
  if (tags === null || typeof tags !== "object" || Array.isArray(tags)) return problem(expected.tags);
  const entries = Object.entries(tags);
  if (entries.length > 2 * MAX_TAGS) return problem(expected.tags);
  for (const [key, value] of entries) {
    if (!isTagKey(key)) return problem(`${expected.key}, and not ${JSON.stringify(key.slice(0, 80))}`);
    const isValue = value === null || value === "" || typeof value === "string" && isTagValue(value);
    if (!isValue) return problem(`${expected.value}, for the tag ${key}`);
  }
  return new Map(entries.map(([key, value]) => [key, value ?? ""]));
}).optional().openapi({
  ...tagsType,
  additionalProperties: { type: ["string", "null"], maxLength: MAX_TAG_VALUE_BYTES },
  description: "Values by key; null removes a tag. Tags that are not named stay.",
});

const changes = {
  name: labelText("name", MAX_NAME_BYTES).openapi({ description: "Null removes it" }),
  tags: tagChanges,
  notes: labelText("notes", MAX_NOTES_BYTES, true).openapi({ description: "Null removes them" }),
};

/** @internal What is to change of a device; what is left out stays (JSON Merge Patch, RFC 7396). */
export const LabelPatch = z.strictObject(changes, {
  error: "expected an object with name, tags or notes",
}).openapi("LabelPatch");

/** @internal One device of an import. */
export const ImportedDevice = z.strictObject({ device_id: deviceId, ...changes }, {
  error: "expected an object with device_id, and name, tags or notes",
}).openapi("ImportedDevice");

/** Labels of a device. */
export type Labels = z.infer<typeof Labels>;

/** @internal */
export const Labels = z.object({
  device_id: z.string(),
  ...nameAndTags,
  notes: z.string().nullable().openapi({ description: "null: none" }),
  seen: z.boolean().openapi({ description: "The device has sent a packet" }),
}).openapi("Labels");

/** @internal */
export const ImportBody = z.object({ devices: z.array(ImportedDevice) }).openapi("Import");

/** What an import did. */
export type ImportReport = z.infer<typeof ImportReport>;

/** @internal */
export const ImportReport = z.object({
  devices: count.openapi({ description: "Devices that were named" }),
  unseen: count.openapi({ description: "Those of them that have sent no packet yet" }),
}).openapi("ImportReport");

/** All tags with their figures. */
export type TagList = z.infer<typeof TagList>;

/** @internal */
export const TagList = z.object({
  keys: z.array(z.object({
    key: z.string(),
    devices: count.openapi({ description: "Devices that have a tag with this key" }),
    values: z.array(z.object({
      value: z.string(),
      devices: count,
      online: count,
      count: count.openapi({ description: "Packets stored of these devices" }),
      rate_10s: rate.openapi({ description: "Packets per second over the last ten seconds" }),
    })).openapi({ description: "Those with most devices first" }),
    values_total: count.openapi({ description: "Values of this key, also those that are left out here" }),
  })).openapi({ description: "By key" }),
}).openapi("TagList");

const keyParameter = z.string({ error: expected.key }).refine(isTagKey, { error: expected.key });

/** @internal Which tags to list. */
export const TagParameters = query({
  key: keyParameter.optional().openapi({ description: "This key only", example: "site" }),
  limit: integer(1, 10_000, { default: 100, description: "Values of each key, at most" }).default(100),
});

const filterExpected = `expected key=value, or a key alone, ${MAX_TAG_FILTERS} of them at most`;
const filterText = z.string({ error: filterExpected }).transform((text, c): TagFilter => {
  const at = text.indexOf("=");
  const key = at < 0 ? text : text.slice(0, at), value = at < 0 ? undefined : text.slice(at + 1);
  if (isTagKey(key) && (value === undefined || isTagValue(value))) return { key, value };
  c.issues.push({ code: "custom", message: filterExpected, input: text });
  return z.NEVER;
});

/** @internal Tags of devices, each a parameter of its own. */
export const tagFilters = z.union(
  [filterText.transform((filter) => [filter]), z.array(filterText).max(MAX_TAG_FILTERS)],
  { error: filterExpected },
).optional().transform((filters): readonly TagFilter[] => filters ?? []).openapi({
  type: "array",
  items: { type: "string" },
  maxItems: MAX_TAG_FILTERS,
  description:
    "Only devices with this tag: `tag=site=oslo`, or `tag=site` for any value. More than one: of each key " +
    "one of the values, as in `tag=site=oslo&tag=site=bergen&tag=model=x2`",
});
