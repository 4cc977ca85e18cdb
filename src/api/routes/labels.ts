/**
 * Names, tags and notes: of one device, and of many by import.
 *
 * @module
 */
import type { Context } from "@hono/hono";
import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";

import type { FleetCache } from "../../fleet/fleet_cache.ts";
import { labelsJson, MAX_DISTINCT_KEYS, MAX_DISTINCT_TAGS } from "../../fleet/label_index.ts";
import type { TagReport } from "../../fleet/tag_figures.ts";
import type { Auditor } from "../../identity/auditor.ts";
import { RequestError } from "../../protocol/request_error.ts";
import { MAX_IDS_PER_CALL } from "../../store/devices.ts";
import { type LabelChange, type LabelRefusal, MAX_TAGS, MAX_UNSEEN_LABELLED } from "../../store/labels.ts";
import type { Store } from "../../store/store.ts";
import { readerOf } from "../http/access.ts";
import { changeResponses, json, problem } from "../http/openapi.ts";
import { problemResponse } from "../http/problem.ts";
import { MAX_IMPORT_BYTES, readImport } from "../responses/label_import.ts";
import { DevicePath, DeviceQuery } from "../schemas/device.ts";
import { ImportBody, ImportReport, LabelPatch, Labels } from "../schemas/labels.ts";
import { NoParameters } from "../schemas/parameters.ts";

/** What the routes need. */
export interface LabelsOptions {
  /** Where labels are kept. */
  readonly store: Pick<Store, "setLabels" | "notes">;
  /** Has them in memory. */
  readonly fleet: FleetCache;
  /** Has figures by tag. */
  readonly tagReport: TagReport;
  /** Records what was changed, and by which reader. */
  readonly auditor: Auditor;
}

const tags = ["Devices"];
const limited = problem(
  "A limit of tags, or of devices that were not seen, would be exceeded; nothing is changed",
);

/** Adds the routes; before those of `/devices/{id}`, which match the same paths. */
export function addLabels(app: OpenAPIHono, options: LabelsOptions): void {
  addImport(app, options);
  addPatch(app, options, "/devices/by-id", "ById", { query: DeviceQuery });
  addPatch(app, options, "/devices/{id}", "", { params: DevicePath, query: NoParameters });
}

function addPatch(
  app: OpenAPIHono,
  options: LabelsOptions,
  path: string,
  suffix: string,
  named: { query: typeof DeviceQuery } | { params: typeof DevicePath; query: typeof NoParameters },
): void {
  const { store, fleet, auditor } = options;
  const route = createRoute({
    method: "patch",
    path,
    operationId: `labelDevice${suffix}`,
    tags,
    summary: "Change a device's name, tags or notes",
    description:
      "What is left out stays, and null removes it. A device may be named before its first packet: its " +
      "labels are kept until it is deleted. Refused for a page of another site.",
    request: { ...named, body: { required: true, content: { "application/json": { schema: LabelPatch } } } },
    responses: {
      200: json(Labels, "The labels as they are now"),
      ...changeResponses,
      409: limited,
    },
  });
  app.openapi(route, async (c) => {
    const deviceId = c.req.param("id") ?? c.req.query("id") ?? "";
    const change = { deviceId, ...c.req.valid("json") };
    await fleet.refresh({ keepWarm: true });
    await setLabels(options, [change]);
    await fleet.refreshLabels();
    options.tagReport.reset();
    await auditor.record(readerOf(c).name, "device.label", [{ target: deviceId, detail: detailOf(change) }]);
    const labels = {
      device_id: deviceId,
      ...labelsJson(fleet.labels.of(deviceId)),
      notes: await store.notes(deviceId) || null,
      seen: fleet.index.slotOf(deviceId) !== undefined,
    };
    return c.json(labels satisfies Labels, 200, { "Cache-Control": "no-store" });
  });
}

const importRoute = createRoute({
  method: "post",
  path: "/devices/import",
  operationId: "importLabels",
  tags,
  summary: "Change names, tags and notes of many devices",
  description:
    "CSV with a column `device_id`, and columns `name`, `notes` and keys of tags, of which an empty cell " +
    "changes nothing; or JSON. All rows are checked before the first is stored. Devices need not have been seen. An " +
    "import that failed with 409 or 503 may have stored some rows; it can be repeated.",
  request: {
    query: NoParameters,
    body: {
      required: true,
      content: {
        "application/json": { schema: ImportBody },
        "text/csv": { schema: { type: "string", example: "device_id,name,site\nsensor-1,Boiler,oslo" } },
      },
    },
  },
  responses: {
    200: json(ImportReport, "All rows are stored"),
    ...changeResponses,
    400: problem("A row cannot be used; nothing is changed"),
    409: problem("A limit of tags, or of devices that were not seen, would be exceeded"),
    413: problem(`The body has more than ${MAX_IMPORT_BYTES} bytes`),
    415: problem("The body is neither CSV nor JSON"),
  },
});

/** By hand: the rows are checked one by one, with other requests in between. */
function addImport(app: OpenAPIHono, options: LabelsOptions): void {
  const { fleet, auditor } = options;
  app.openAPIRegistry.registerPath(importRoute);
  app.post(importRoute.path, async (c) => {
    const parameter = Object.keys(c.req.query())[0];
    if (parameter !== undefined) {
      const detail = `Cannot use the parameter ${JSON.stringify(parameter)}: expected none`;
      return problemResponse(c.req.raw, 400, detail);
    }
    const form = mediaTypeOf(c);
    if (form !== "text/csv" && form !== "application/json") {
      const detail = "Cannot use the body: expected Content-Type: text/csv or application/json";
      return problemResponse(c.req.raw, 415, detail);
    }
    const changes = await readImport(await c.req.text(), form === "text/csv");
    await fleet.refresh({ keepWarm: true });
    await setLabels(options, changes);
    await fleet.refreshLabels();
    options.tagReport.reset();
    const targets = changes.map((change) => ({ target: change.deviceId, detail: detailOf(change) }));
    await auditor.record(readerOf(c).name, "device.label", targets);
    const unseen = changes.filter(({ deviceId }) => fleet.index.slotOf(deviceId) === undefined).length;
    const report: ImportReport = { devices: changes.length, unseen };
    return c.json(report, 200, { "Cache-Control": "no-store" });
  });
}

function mediaTypeOf(c: Context): string | undefined {
  return /^[^;]*/.exec(c.req.header("Content-Type") ?? "")?.[0].trim().toLowerCase();
}

async function setLabels({ store, fleet }: LabelsOptions, changes: readonly LabelChange[]): Promise<void> {
  const added = changes.flatMap(({ tags = new Map<string, string>() }) =>
    [...tags].filter(([, value]) => value !== "")
  );
  if (!fleet.labels.hasRoomFor(added)) {
    throw new RequestError(
      "FAILED_PRECONDITION",
      `Cannot add the tags: all devices together may have ${MAX_DISTINCT_TAGS} distinct tags with ` +
        `${MAX_DISTINCT_KEYS} keys; remove some, or put what each device has of its own into notes`,
    );
  }
  for (let start = 0; start < changes.length; start += MAX_IDS_PER_CALL) {
    const refusal = await store.setLabels(changes.slice(start, start + MAX_IDS_PER_CALL));
    if (refusal !== undefined) throw refused(refusal);
  }
}

function refused({ deviceId, limit }: LabelRefusal): RequestError {
  const id = JSON.stringify(deviceId);
  return new RequestError(
    "FAILED_PRECONDITION",
    limit === "tags"
      ? `Cannot change the tags of device ${id}: it may have ${MAX_TAGS}; remove some by setting them to null`
      : `Cannot keep labels of device ${id}: it has sent no packet, and ${MAX_UNSEEN_LABELLED} such devices have ` +
        "labels; let devices send first, or delete some of them",
  );
}

/** What was changed, for the audit log; of notes only that they were. */
function detailOf({ name, tags = new Map<string, string>(), notes }: LabelChange): string {
  return [
    ...name === undefined ? [] : [`name=${JSON.stringify(name)}`],
    ...[...tags].map(([key, value]) => `${key}=${JSON.stringify(value)}`),
    ...notes === undefined ? [] : ["notes"],
  ].join(" ");
}
