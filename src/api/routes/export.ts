/**
 * `/export`: all devices, or their histories, as one file of any length.
 *
 * @module
 */
import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";

import type { ReaderConnection } from "../../http/reader_server.ts";
import { RequestError } from "../../protocol/request_error.ts";
import { readerOf } from "../http/access.ts";
import type { Downloads } from "../http/download.ts";
import { invalid, unavailable, unknownDevice } from "../http/openapi.ts";
import { assertOrdered } from "../http/parameter_error.ts";
import { type ExportSources, exportTable } from "../responses/export_rows.ts";
import { exportText } from "../responses/export_text.ts";
import { exportedDevices } from "../responses/exported_devices.ts";
import { ExportBody, ExportParameters } from "../schemas/export.ts";

/** What the route needs. */
export interface ExportOptions extends ExportSources {
  /** Bounds how many there are. */
  readonly downloads: Downloads;
}

const types = {
  csv: "text/csv; charset=utf-8; header=present",
  ndjson: "application/x-ndjson",
} as const;

const exportRoute = createRoute({
  method: "get",
  path: "/export",
  operationId: "export",
  tags: ["Devices"],
  summary: "Export devices, their histories, values or attributes, as CSV or NDJSON",
  description: "A stream of any length, made as it is read. Which devices it has is fixed at the beginning " +
    "(`Tally-Export-Devices`: how many). The last line shows that it is whole, and how many rows there are: " +
    '`# end: 2 rows, 2 devices` of CSV, `{"end":true,"rows":2,"devices":2}` of NDJSON. Without it the export was ' +
    "cut off. A client that reads nothing for a minute is cut off.",
  request: { query: ExportParameters },
  responses: {
    200: {
      description: "The export",
      content: {
        "text/csv": { schema: ExportBody },
        "application/x-ndjson": { schema: ExportBody },
      },
    },
    400: invalid,
    404: unknownDevice,
    503: unavailable,
  },
});

/** Adds the route. */
export function addExport(app: OpenAPIHono, options: ExportOptions): void {
  app.openapi(exportRoute, async (c) => {
    const parameters = c.req.valid("query"), { format, what, device, from, to } = parameters;
    const isOverTime = what === "histories" || what === "values";
    if (!isOverTime && (from !== undefined || to !== undefined)) {
      throw new RequestError(
        "INVALID_ARGUMENT",
        "Cannot use from and to: expected what=histories or what=values with them",
      );
    }
    assertOrdered(parameters);
    const { downloads } = options;
    downloads.checkRoom();
    const devices = await exportedDevices(options, parameters);
    if (device !== undefined && devices.ids.length === 0) {
      throw new RequestError("NOT_FOUND", `there is no device ${JSON.stringify(device)}`);
    }
    await options.values.refresh();
    const date = new Date(options.clock.unixMs()).toISOString().slice(0, 10);
    c.header("Content-Type", types[format]);
    c.header("Content-Disposition", `attachment; filename="tally-${what}-${date}.${format}"`);
    c.header("Cache-Control", "no-store");
    c.header("Tally-Export-Devices", String(devices.total));
    c.header("X-Accel-Buffering", "no");
    if (c.req.raw.method === "HEAD") return c.body(null);
    const connection = c.env as ReaderConnection;
    const body = downloads.open(
      exportText(exportTable(options, devices, parameters), parameters),
      readerOf(c),
    );
    return c.body(connection.eventStream(body));
  });
}
