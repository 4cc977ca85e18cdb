/**
 * The monitor page: its files, from memory, scripts and styles without their comments. They are part of the
 * program, so serving them needs no permission to read.
 *
 * @module
 */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";

import addressJs from "../../page/address.js" with { type: "text" };
import alertsCss from "../../page/alerts.css" with { type: "text" };
import alertsViewJs from "../../page/alerts_view.js" with { type: "text" };
import apiJs from "../../page/api.js" with { type: "text" };
import chartJs from "../../page/chart.js" with { type: "text" };
import chartPathsJs from "../../page/chart_paths.js" with { type: "text" };
import chartScaleJs from "../../page/chart_scale.js" with { type: "text" };
import connectionJs from "../../page/connection.js" with { type: "text" };
import controlsCss from "../../page/controls.css" with { type: "text" };
import copyJs from "../../page/copy.js" with { type: "text" };
import deviceCss from "../../page/device.css" with { type: "text" };
import deviceJs from "../../page/device.js" with { type: "text" };
import deviceChartsJs from "../../page/device_charts.js" with { type: "text" };
import domJs from "../../page/dom.js" with { type: "text" };
import eventListJs from "../../page/event_list.js" with { type: "text" };
import eventReaderJs from "../../page/event_reader.js" with { type: "text" };
import eventsCss from "../../page/events.css" with { type: "text" };
import eventsJs from "../../page/events.js" with { type: "text" };
import eventsViewJs from "../../page/events_view.js" with { type: "text" };
import figuresCss from "../../page/figures.css" with { type: "text" };
import formatJs from "../../page/format.js" with { type: "text" };
import groupsJs from "../../page/groups.js" with { type: "text" };
import healthJs from "../../page/health.js" with { type: "text" };
import iconSvg from "../../page/icon.svg" with { type: "text" };
import iconAlertSvg from "../../page/icon_alert.svg" with { type: "text" };
import incidentLineJs from "../../page/incident_line.js" with { type: "text" };
import indexHtml from "../../page/index.html" with { type: "text" };
import labelsCss from "../../page/labels.css" with { type: "text" };
import labelsJs from "../../page/labels.js" with { type: "text" };
import instancesCss from "../../page/instances.css" with { type: "text" };
import mainJs from "../../page/main.js" with { type: "text" };
import muteFormJs from "../../page/mute_form.js" with { type: "text" };
import openIncidentsJs from "../../page/open_incidents.js" with { type: "text" };
import overviewJs from "../../page/overview.js" with { type: "text" };
import pageCss from "../../page/page.css" with { type: "text" };
import payloadViewJs from "../../page/payload_view.js" with { type: "text" };
import ruleFormJs from "../../page/rule_form.js" with { type: "text" };
import shardsJs from "../../page/shards.js" with { type: "text" };
import signInJs from "../../page/sign_in.js" with { type: "text" };
import sparklinesJs from "../../page/sparklines.js" with { type: "text" };
import tableCss from "../../page/table.css" with { type: "text" };
import tableJs from "../../page/table.js" with { type: "text" };
import tableRowJs from "../../page/table_row.js" with { type: "text" };
import tagFilterJs from "../../page/tag_filter.js" with { type: "text" };
import timeRangeJs from "../../page/time_range.js" with { type: "text" };
import tokenJs from "../../page/token.js" with { type: "text" };
import unitsJs from "../../page/units.js" with { type: "text" };
import valueChartJs from "../../page/value_chart.js" with { type: "text" };
import valueColumnsJs from "../../page/value_columns.js" with { type: "text" };
import { Asset } from "../http/assets.ts";
import { problem, unchanged } from "../http/openapi.ts";

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  svg: "image/svg+xml",
};

const index = new Asset("text/html; charset=utf-8", () => indexHtml);

const texts: Readonly<Record<string, string>> = {
  "address.js": addressJs,
  "alerts.css": alertsCss,
  "alerts_view.js": alertsViewJs,
  "api.js": apiJs,
  "chart.js": chartJs,
  "chart_paths.js": chartPathsJs,
  "chart_scale.js": chartScaleJs,
  "connection.js": connectionJs,
  "controls.css": controlsCss,
  "copy.js": copyJs,
  "device.css": deviceCss,
  "device.js": deviceJs,
  "device_charts.js": deviceChartsJs,
  "dom.js": domJs,
  "event_list.js": eventListJs,
  "event_reader.js": eventReaderJs,
  "events.css": eventsCss,
  "events.js": eventsJs,
  "events_view.js": eventsViewJs,
  "figures.css": figuresCss,
  "format.js": formatJs,
  "groups.js": groupsJs,
  "health.js": healthJs,
  "icon.svg": iconSvg,
  "icon_alert.svg": iconAlertSvg,
  "labels.css": labelsCss,
  "labels.js": labelsJs,
  "incident_line.js": incidentLineJs,
  "instances.css": instancesCss,
  "main.js": mainJs,
  "mute_form.js": muteFormJs,
  "open_incidents.js": openIncidentsJs,
  "overview.js": overviewJs,
  "page.css": pageCss,
  "payload_view.js": payloadViewJs,
  "rule_form.js": ruleFormJs,
  "shards.js": shardsJs,
  "sign_in.js": signInJs,
  "sparklines.js": sparklinesJs,
  "table.css": tableCss,
  "table.js": tableJs,
  "table_row.js": tableRowJs,
  "tag_filter.js": tagFilterJs,
  "time_range.js": timeRangeJs,
  "token.js": tokenJs,
  "units.js": unitsJs,
  "value_chart.js": valueChartJs,
  "value_columns.js": valueColumnsJs,
};

const files: ReadonlyMap<string, Asset> = new Map(
  Object.entries(texts).map(([name, text]) => {
    const contentType = CONTENT_TYPES[name.slice(name.lastIndexOf(".") + 1)]!;
    return [name, new Asset(contentType, () => withoutComments(text))];
  }),
);

/**
 * Docstrings and indentation are a third of a script's bytes, compressed too. `/*` begins nothing but comments in
 * these files, those that begin with `//` have lines of their own, and no text in them goes over several lines.
 */
function withoutComments(text: string): string {
  return text.replace(/\/\*(?:(?!\*\/)[\s\S])*\*\/[ \t]*\n?|^[ \t]*\/\/.*\n/gm, "")
    .replace(/^[ \t]+|\n(?=\n)/gm, "");
}

const indexRoute = createRoute({
  method: "get",
  path: "/",
  operationId: "getPage",
  tags: ["Page"],
  summary: "The monitor, for people",
  responses: {
    200: { description: "The page", content: { "text/html": { schema: z.string() } } },
    304: unchanged,
  },
});

const fileRoute = createRoute({
  method: "get",
  path: "/page/{file}",
  operationId: "getPageFile",
  tags: ["Page"],
  summary: "What that page loads",
  request: { params: z.object({ file: z.string().openapi({ enum: [...files.keys()] }) }) },
  responses: {
    200: {
      description: "The file",
      content: {
        "text/javascript": { schema: z.string() },
        "text/css": { schema: z.string() },
        "image/svg+xml": { schema: z.string() },
      },
    },
    304: unchanged,
    404: problem("There is no such file"),
  },
});

/** Adds the routes for the page and the files it refers to. */
export function addPage(app: OpenAPIHono): void {
  app.openapi(indexRoute, (c) => index.respond(c));
  app.openapi(fileRoute, (c) => {
    const file = files.get(c.req.valid("param").file);
    return file === undefined ? c.notFound() : file.respond(c);
  });
}
