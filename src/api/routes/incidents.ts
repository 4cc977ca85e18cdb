/**
 * `/incidents`: what rules have found, and that a person takes care of it; `/channels`: tests of channels.
 *
 * @module
 */
import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";

import type { AlertSettings } from "../../alerts/alert_settings.ts";
import { type ChannelName, channelRequest, type Channels } from "../../alerts/channels/channel.ts";
import type { IncidentLog } from "../../alerts/incident_log.ts";
import type { Incident as StoredIncident } from "../../alerts/incidents/incident.ts";
import { postJson } from "../../alerts/webhook_request.ts";
import type { Auditor } from "../../identity/auditor.ts";
import { RequestError } from "../../protocol/request_error.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { AlertStore } from "../../store/alerts.ts";
import { readerOf } from "../http/access.ts";
import { jsonResponse } from "../http/json_response.ts";
import {
  body,
  changeResponses,
  foreignPage,
  invalid,
  json,
  problem,
  unavailable,
  unchanged,
} from "../http/openapi.ts";
import {
  AcknowledgeRequest,
  ChannelPath,
  ChannelTest,
  Incident,
  IncidentDetails,
  IncidentList,
  IncidentParameters,
  IncidentPath,
} from "../schemas/incident.ts";
import { NoParameters } from "../schemas/parameters.ts";
import { putDocuments } from "./alert_documents.ts";

/** What the routes need. */
export interface IncidentsOptions {
  /** Where acknowledgements are stored. */
  readonly store: Pick<AlertStore, "putAlertDocuments">;
  /** Has the acknowledgements. */
  readonly alertSettings: AlertSettings;
  /** Has the incidents. */
  readonly incidentLog: IncidentLog;
  /** The channels that are configured. */
  readonly channels: Channels;
  /** Their names. */
  readonly channelNames: readonly ChannelName[];
  /** Address of an incident on the page. */
  readonly linkOf: (incidentId: number) => string;
  /** The time that stamps acknowledgements and tests. */
  readonly clock: Clock;
  /** Records who changed what. */
  readonly auditor: Auditor;
}

const tags = ["Alerts"];
const unknown = problem("No such incident");

const listRoute = createRoute({
  method: "get",
  path: "/incidents",
  operationId: "listIncidents",
  tags,
  summary: "List incidents, newest first",
  description:
    "Devices to which a rule began to apply together are one. Of those that have ended the newest " +
    "1,000 are kept; a rule has five open ones at most, the newest of which further devices join.",
  request: { query: IncidentParameters },
  responses: {
    200: json(IncidentList, "A page of incidents"),
    304: unchanged,
    400: invalid,
    503: unavailable,
  },
});

const readRoute = createRoute({
  method: "get",
  path: "/incidents/{id}",
  operationId: "getIncident",
  tags,
  summary: "Show an incident, with its devices",
  request: { params: IncidentPath, query: NoParameters },
  responses: {
    200: json(IncidentDetails, "The incident"),
    304: unchanged,
    400: invalid,
    404: unknown,
    503: unavailable,
  },
});

const acknowledgeRoute = createRoute({
  method: "post",
  path: "/incidents/{id}/acknowledge",
  operationId: "acknowledgeIncident",
  tags,
  summary: "Acknowledge an incident",
  description: "Until it ends there are no further messages about devices that join it.",
  request: { params: IncidentPath, ...body(AcknowledgeRequest) },
  responses: {
    201: json(Incident, "The incident"),
    ...changeResponses,
    404: unknown,
    409: problem("There are too many acknowledgements"),
  },
});

const testRoute = createRoute({
  method: "post",
  path: "/channels/{name}/test",
  operationId: "testChannel",
  tags,
  summary: "Send a test message to a channel",
  request: { params: ChannelPath, query: NoParameters },
  responses: {
    201: json(ChannelTest, "What became of it"),
    400: invalid,
    403: foreignPage,
    404: problem("The channel is not configured"),
    503: unavailable,
  },
});

/** Adds the routes. */
export function addIncidents(app: OpenAPIHono, options: IncidentsOptions): void {
  const { incidentLog, clock, auditor } = options;
  app.openapi(listRoute, async (c) => {
    const { state, rule, before = Infinity, limit } = c.req.valid("query");
    const incidents = await allIncidents(options);
    const found = incidents.filter((incident) =>
      incident.id < before && (state ?? incident.state) === incident.state &&
      (rule ?? incident.rule_id) === incident.rule_id
    );
    return jsonResponse<IncidentList>(c, {
      incidents: found.slice(0, limit),
      firing: incidents.filter(({ state }) => state === "firing").length,
      next: found.length > limit ? found[limit - 1]!.id : null,
    });
  });
  app.openapi(readRoute, async (c) => {
    const incident = await incidentById(options, c.req.valid("param").id);
    const { firing, cleared } = await incidentLog.devices(incident.id);
    return jsonResponse<IncidentDetails>(c, {
      ...incident,
      firing_devices: [...firing],
      cleared_devices: [...cleared],
    });
  });
  app.openapi(acknowledgeRoute, async (c) => {
    const { id } = await incidentById(options, c.req.valid("param").id);
    const { note } = c.req.valid("json");
    const by = readerOf(c).name;
    const acknowledged = JSON.stringify({ at_ms: clock.unixMs(), by, note });
    await putDocuments(options, [{ kind: "acknowledgement", id: String(id), body: acknowledged }]);
    await auditor.record(by, "incident.acknowledge", [{ target: String(id), detail: note }]);
    return c.json(await incidentById(options, id), 201);
  });
  addTest(app, options);
}

function addTest(app: OpenAPIHono, options: IncidentsOptions): void {
  const { channels, channelNames, linkOf, clock, auditor } = options;
  app.openapi(testRoute, async (c) => {
    const { name } = c.req.valid("param");
    if (!channelNames.includes(name)) {
      throw new RequestError(
        "NOT_FOUND",
        `Cannot test ${name}: it is not configured; TALLY_ALERT_… settings name the channels`,
      );
    }
    const message = { id: crypto.randomUUID(), kind: "test", at_ms: clock.unixMs() } as const;
    const incident = testIncident(message.at_ms);
    const request = channelRequest(name, channels, { ...message, incident }, linkOf(0), clock);
    const outcome = await postJson(request, clock, new AbortController().signal);
    await auditor.record(readerOf(c).name, "channel.test", [{ target: name, detail: outcome.kind }]);
    const reason = outcome.kind === "accepted"
      ? ""
      : outcome.kind === "gone"
      ? "it answered 410"
      : outcome.reason;
    return c.json({ accepted: outcome.kind === "accepted", reason } satisfies ChannelTest, 201);
  });
}

/** One that has ended, so that a receiver keeps nothing of it. */
function testIncident(nowMs: number): StoredIncident {
  return {
    ...{ id: 0, rule_id: "test", rule_name: "Tally", condition: "a test of this channel", kind: "rejected" },
    ...{ severity: "warning", channels: null, state: "resolved", started_ms: nowMs, since_ms: nowMs },
    ...{ joined_ms: nowMs, resolved_ms: nowMs, devices: 0, firing: 0, first: [], value: null, sent: null },
  };
}

async function allIncidents({ alertSettings, incidentLog }: IncidentsOptions): Promise<Incident[]> {
  await Promise.all([alertSettings.refresh(), incidentLog.refresh()]);
  return incidentLog.incidents.map(({ sent, channels: _, first, ...incident }) => ({
    ...incident,
    first: [...first],
    sent_ms: sent?.at_ms ?? null,
    acknowledged: alertSettings.acknowledgements.get(String(incident.id)) ?? null,
  }));
}

async function incidentById(options: IncidentsOptions, id: number): Promise<Incident> {
  const incident = (await allIncidents(options)).find((incident) => incident.id === id);
  if (incident === undefined) throw new RequestError("NOT_FOUND", `there is no incident ${id}`);
  return incident;
}
