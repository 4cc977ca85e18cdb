/**
 * `/mutes`: times without messages.
 *
 * @module
 */
import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";

import type { AlertSettings } from "../../alerts/alert_settings.ts";
import { isActive, isOver, type Mute as StoredMute, type MuteBody } from "../../alerts/incidents/mute.ts";
import type { Auditor } from "../../identity/auditor.ts";
import { RequestError } from "../../protocol/request_error.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { AlertStore } from "../../store/alerts.ts";
import { readerOf } from "../http/access.ts";
import { jsonResponse } from "../http/json_response.ts";
import { body, changeResponses, invalid, json, problem, unavailable, unchanged } from "../http/openapi.ts";
import { NoParameters } from "../schemas/parameters.ts";
import { Mute, MuteList, MuteRequest, RulePath } from "../schemas/rule.ts";
import { put } from "./rules.ts";

/** What the routes need. */
export interface MutesOptions {
  /** Where mutes are stored. */
  readonly store: Pick<AlertStore, "putAlertDocuments" | "removeAlertDocuments">;
  /** Has the mutes. */
  readonly alertSettings: AlertSettings;
  /** The time. */
  readonly clock: Clock;
  /** Records who changed what. */
  readonly auditor: Auditor;
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
  responses: {
    204: { description: "It is removed" },
    400: invalid,
    403: problem("The request came from a page of another site"),
    404: problem("No such mute"),
    503: unavailable,
  },
});

/** Adds the routes. */
export function addMutes(app: OpenAPIHono, { store, alertSettings, clock, auditor }: MutesOptions): void {
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
    await put(store, [{ kind: "mute", id, body: JSON.stringify(mute), expected: 0 }]);
    await auditor.record(readerOf(c).name, "mute.add", [{ target: id, detail: mute.comment }]);
    return c.json(muteJson({ ...mute, id }, nowMs), 201);
  });
  app.openapi(removeRoute, async (c) => {
    const { id } = c.req.valid("param");
    const removed = await store.removeAlertDocuments("mute", [id]);
    if (removed.length === 0) {
      throw new RequestError("NOT_FOUND", `there is no mute ${JSON.stringify(id)}`);
    }
    await auditor.record(readerOf(c).name, "mute.remove", [{ target: id, detail: "" }]);
    return c.body(null, 204);
  });
}

function muteJson(mute: StoredMute, nowMs: number): Mute {
  const { id, rule_id, devices, tag, comment, repeat, from_ms, until_ms } = mute;
  return { id, rule_id, devices, tag, comment, repeat, from_ms, until_ms, active: isActive(mute, nowMs) };
}
