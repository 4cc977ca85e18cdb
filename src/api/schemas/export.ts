/**
 * Exports.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

import { MAX_DEVICE_ID_BYTES } from "../../protocol/field_limits.ts";
import { tagFilters } from "./labels.ts";
import { choice, deviceId, integer, query, text } from "./parameters.ts";

/** Year 9999. */
const MAX_MS = 253_402_300_799_999;

/** Which rows to export, and how. */
export type ExportParameters = z.infer<typeof ExportParameters>;

/** @internal */
export const ExportParameters = query({
  format: choice(["csv", "ndjson"]).default("csv"),
  what: choice(["devices", "histories", "values", "attributes"]).default("devices").openapi({
    description:
      "devices: a row for each; histories: one for each of its minutes and hours with packets; values: " +
      "one for each minute and hour of each value that it has; attributes: one for each text that it has",
  }),
  device: deviceId.optional(),
  prefix: text(MAX_DEVICE_ID_BYTES, "Beginning of the ids").default(""),
  status: choice(["online", "offline"]).optional(),
  tag: tagFilters,
  from: integer(0, MAX_MS, {
    description: "Of histories and values: periods that begin then or later, Unix ms",
  })
    .optional(),
  to: integer(0, MAX_MS, { description: "Of histories and values: periods that begin before this, Unix ms" })
    .optional(),
  formulas: choice(["guarded", "plain"]).default("guarded").openapi({
    description: "guarded: an apostrophe before texts in CSV that a spreadsheet would take for a formula",
  }),
});

/** @internal */
export const ExportBody = z.string().openapi({
  description: "A line for each row, and a last one by which a whole export is recognised",
});
