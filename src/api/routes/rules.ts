/**
 * `/rules`: rules of alerts.
 *
 * @module
 */
import { createRoute, type OpenAPIHono, type z } from "@hono/zod-openapi";

import type { AlertSettings } from "../../alerts/alert_settings.ts";
import type { IncidentLog } from "../../alerts/incident_log.ts";
import { describeCondition, type Rule as StoredRule } from "../../alerts/rules/rule.ts";
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
import {
  Rule,
  RuleChange,
  RuleImport,
  RuleImported,
  RuleList,
  RulePath,
  RuleRequest,
} from "../schemas/rule.ts";
import { type DocumentsOptions, putDocuments, removeDocument, unknownDocument } from "./alert_documents.ts";

/** What the routes need. */
export interface RulesOptions extends DocumentsOptions {
  /** Has the rules. */
  readonly alertSettings: AlertSettings;
  /** Has what became of them. */
  readonly incidentLog: IncidentLog;
  /** Names of the channels that are configured. */
  readonly channelNames: readonly string[];
}

const tags = ["Alerts"];
const unknown = problem("No such rule");

const listRoute = createRoute({
  method: "get",
  path: "/rules",
  operationId: "listRules",
  tags,
  summary: "List the rules of alerts",
  description: "What POST /rules/import takes: rules of one Tally are brought to another with both.",
  request: { query: NoParameters },
  responses: { 200: json(RuleList, "All rules"), 304: unchanged, 400: invalid, 503: unavailable },
});

const addRoute = createRoute({
  method: "post",
  path: "/rules",
  operationId: "addRule",
  tags,
  summary: "Add a rule",
  request: body(RuleRequest),
  responses: { 201: json(Rule, "The rule"), ...changeResponses, 409: problem("There are too many") },
});

const importRoute = createRoute({
  method: "post",
  path: "/rules/import",
  operationId: "importRules",
  tags,
  summary: "Add or replace rules by their ids, all or none",
  request: body(RuleImport),
  responses: { 201: json(RuleImported, "How many"), ...changeResponses, 409: problem("There are too many") },
});

const readRoute = createRoute({
  method: "get",
  path: "/rules/{id}",
  operationId: "getRule",
  tags,
  summary: "Show a rule",
  request: { params: RulePath, query: NoParameters },
  responses: {
    200: json(Rule, "The rule"),
    304: unchanged,
    400: invalid,
    404: unknown,
    503: unavailable,
  },
});

const changeRoute = createRoute({
  method: "put",
  path: "/rules/{id}",
  operationId: "changeRule",
  tags,
  summary: "Change a rule",
  description: "Its open incidents go on where it still applies, and end where it does not.",
  request: { params: RulePath, ...body(RuleChange) },
  responses: {
    200: json(Rule, "The rule"),
    ...changeResponses,
    404: unknown,
    409: problem("It was changed since the version that was read"),
  },
});

const removeRoute = createRoute({
  method: "delete",
  path: "/rules/{id}",
  operationId: "removeRule",
  tags,
  summary: "Remove a rule",
  description: "Its open incidents end.",
  request: { params: RulePath, query: NoParameters },
  responses: removalResponses("It is removed", unknown),
});

/** Adds the routes. */
export function addRules(app: OpenAPIHono, options: RulesOptions): void {
  const { channelNames, auditor } = options;
  app.openapi(listRoute, async (c) => {
    const rules = await allRules(options);
    return jsonResponse<RuleList>(c, { rules, channels: [...channelNames] });
  });
  app.openapi(
    readRoute,
    async (c) => jsonResponse<Rule>(c, await ruleById(options, c.req.valid("param").id)),
  );
  app.openapi(addRoute, async (c) => {
    const rule = c.req.valid("json");
    const id = crypto.randomUUID();
    await putDocuments(options, [{ kind: "rule", id, body: JSON.stringify(rule), expected: 0 }]);
    await auditor.record(readerOf(c).name, "rule.add", [{ target: id, detail: rule.name }]);
    return c.json(await ruleById(options, id), 201);
  });
  app.openapi(importRoute, async (c) => {
    const { rules } = c.req.valid("json");
    await putDocuments(
      options,
      rules.map(({ id, ...rule }) => ({ kind: "rule", id, body: JSON.stringify(rule) })),
    );
    const targets = rules.map(({ id, name }) => ({ target: id, detail: name }));
    await auditor.record(readerOf(c).name, "rule.import", targets);
    return c.json({ imported: rules.length }, 201);
  });
  app.openapi(changeRoute, async (c) => {
    const { id } = c.req.valid("param");
    const { version, ...rule } = c.req.valid("json");
    await ruleById(options, id); // 404 where there is none
    await putDocuments(options, [{ kind: "rule", id, body: JSON.stringify(rule), expected: version }]);
    await auditor.record(readerOf(c).name, "rule.change", [{ target: id, detail: rule.name }]);
    return c.json(await ruleById(options, id), 200);
  });
  app.openapi(removeRoute, async (c) => {
    await removeDocument(options, "rule", c.req.valid("param").id, readerOf(c).name);
    return c.body(null, 204);
  });
}

async function allRules({ alertSettings, incidentLog }: RulesOptions): Promise<Rule[]> {
  const [, , progress] = await Promise.all([
    alertSettings.refresh(),
    incidentLog.refresh(),
    incidentLog.progress(),
  ]);
  return alertSettings.rules.map((rule) => ({
    ...ruleJson(rule),
    summary: summaryOf(rule),
    firing: incidentLog.incidents.filter(({ rule_id, state }) => rule_id === rule.id && state === "firing")
      .length,
    pending: progress?.pending[rule.id] ?? 0,
  }));
}

async function ruleById(options: RulesOptions, id: string): Promise<Rule> {
  const rule = (await allRules(options)).find((rule) => rule.id === id);
  if (rule === undefined) throw unknownDocument("rule", id);
  return rule;
}

function summaryOf({ condition, devices, tag }: StoredRule): string {
  const of = [...devices === "*" ? [] : [devices], ...tag === null ? [] : [tag]];
  return `${of.length === 0 ? "" : `${of.join(", ")}: `}${describeCondition(condition)}`;
}

/** As it was stored after its schema had passed it. */
function ruleJson(rule: StoredRule): z.infer<typeof RuleRequest> & { id: string; version: number } {
  return rule as z.infer<typeof RuleRequest> & StoredRule;
}
