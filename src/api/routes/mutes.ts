/**
 * `/mutes`: times without messages.
 *
 * @module
 */
import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";

import type { AlertSettings } from "../../alerts/alert_settings.ts";
import { isActive, isOver, type Mute as StoredMute, type MuteBody } from "../../alerts/incidents/mute.ts";
import type { Clock } from "../../runtime/clock.ts";
import { readerOf } from "../http/access.ts";
import { jsonResponse } from "../http/json_response.ts";
import {
  body,
  changeResponses,
  invalid,
  json,
  problem,
  removalResponses,
  unavailable,
  unchanged,
} from "../http/openapi.ts";
import { NoParameters } from "../schemas/parameters.ts";
import { Mute, MuteList, MuteRequest, RulePath } from "../schemas/rule.ts";
import { type DocumentsOptions, putDocuments, removeDocument } from "./alert_documents.ts";

/** What the routes need. */
export interface MutesOptions extends DocumentsOptions {
  /** Has the mutes. */
  readonly alertSettings: AlertSettings;
  /** The time. */
  readonly clock: Clock;
}

const tags = ["Alerts"];

const listRoute = createRoute({
  method: "get",
  path: "/mutes",
  operationId: "listMutes",
  tags,
  summary: "List mutes and maintenance windows",
  request: { query: NoParameters },
  responses: { 200: json(MuteList, "All mutes"), 304: unchanged, 400: invalid, 503: unavailable },
});

const addRoute = createRoute({
  method: "post",
  path: "/mutes",
  operationId: "addMute",
  tags,
  summary: "Add a mute or a maintenance window",
  description:
    "There are no messages about incidents whose devices are all muted. Incidents are kept all the " +
    "same; one that is still open afterwards has its message then. Mutes that are over are removed.",
  request: body(MuteRequest),
  responses: { 201: json(Mute, "The mute"), ...changeResponses, 409: problem("There are too many") },
});

const removeRoute = createRoute({
  method: "delete",
  path: "/mutes/{id}",
  operationId: "removeMute",
  tags,
  summary: "Remove a mute",
  request: { params: RulePath, query: NoParameters },
  responses: removalResponses("It is removed", problem("No such mute")),
});

/** Adds the routes. */
export function addMutes(app: OpenAPIHono, options: MutesOptions): void {
  const { store, alertSettings, clock, auditor } = options;
  app.openapi(listRoute, async (c) => {
    await alertSettings.refresh();
    const nowMs = clock.unixMs();
    const mutes = alertSettings.mutes.filter((mute) => !isOver(mute, nowMs));
    return jsonResponse<MuteList>(c, { mutes: mutes.map((mute) => muteJson(mute, nowMs)) });
  });
  app.openapi(addRoute, async (c) => {
    const { from_ms, for_ms, ...request } = c.req.valid("json");
    const nowMs = clock.unixMs(), id = crypto.randomUUID();
    const fromMs = from_ms ?? nowMs;
    const mute: MuteBody = { ...request, from_ms: fromMs, until_ms: fromMs + for_ms };
    await alertSettings.refresh();
    const over = alertSettings.mutes.filter((mute) => isOver(mute, nowMs)).map(({ id }) => id);
    if (over.length > 0) await store.removeAlertDocuments("mute", over);
    await putDocuments(options, [{ kind: "mute", id, body: JSON.stringify(mute), expected: 0 }]);
    await auditor.record(readerOf(c).name, "mute.add", [{ target: id, detail: mute.comment }]);
    return c.json(muteJson({ ...mute, id }, nowMs), 201);
  });
  app.openapi(removeRoute, async (c) => {
    await removeDocument(options, "mute", c.req.valid("param").id, readerOf(c).name);
    return c.body(null, 204);
  });
}

function muteJson(mute: StoredMute, nowMs: number): Mute {
  const { id, rule_id, devices, tag, comment, repeat, from_ms, until_ms } = mute;
  return { id, rule_id, devices, tag, comment, repeat, from_ms, until_ms, active: isActive(mute, nowMs) };
}
