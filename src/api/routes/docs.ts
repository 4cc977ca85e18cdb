/**
 * `/openapi.json`, and a page to browse it and try it out at `/docs`.
 *
 * @module
 */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";

import { VERSION } from "../../runtime/version.ts";
import { Asset } from "../http/assets.ts";
import { jsonResponse } from "../http/json_response.ts";
import { problem, unchanged } from "../http/openapi.ts";

const html = "text/html; charset=utf-8";
const css = "text/css; charset=utf-8";
const javascript = "text/javascript; charset=utf-8";

// The two files of Swagger UI are read at the first request: 1.6 MB that a fleet may never need.
const files = {
  "swagger-ui.css": new Asset(css, async () => {
    return (await import("swagger-ui-dist/swagger-ui.css", { with: { type: "text" } })).default;
  }),
  "swagger-ui-bundle.js": new Asset(javascript, async () => {
    return (await import("swagger-ui-dist/swagger-ui-bundle.js", { with: { type: "text" } })).default;
  }),
  "start.js": new Asset(javascript, () => {
    return `SwaggerUIBundle({ url: "/openapi.json", dom_id: "#docs", deepLinking: true });\n`;
  }),
};

const page = new Asset(
  html,
  () =>
    `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Tally: HTTP API</title>
    <link rel="stylesheet" href="/docs/swagger-ui.css">
  </head>
  <body>
    <div id="docs"></div>
    <script src="/docs/swagger-ui-bundle.js"></script>
    <script src="/docs/start.js"></script>
  </body>
</html>
`,
);

const fileNames = Object.keys(files) as (keyof typeof files)[];

const docsRoute = createRoute({
  method: "get",
  path: "/docs",
  operationId: "getDocs",
  tags: ["Documentation"],
  summary: "This document as a page",
  responses: {
    200: { description: "The page", content: { "text/html": { schema: z.string() } } },
    304: unchanged,
  },
});

const fileRoute = createRoute({
  method: "get",
  path: "/docs/{file}",
  operationId: "getDocsFile",
  tags: ["Documentation"],
  summary: "What that page loads",
  request: { params: z.object({ file: z.enum(fileNames) }) },
  responses: {
    200: {
      description: "The file",
      content: { "text/javascript": { schema: z.string() }, "text/css": { schema: z.string() } },
    },
    304: unchanged,
    404: problem("There is no such file"),
  },
});

const OpenApiDocument = z.record(z.string(), z.any());

const openApiRoute = createRoute({
  method: "get",
  path: "/openapi.json",
  operationId: "getOpenApi",
  tags: ["Documentation"],
  summary: "This document",
  responses: {
    200: {
      description: "OpenAPI 3.1",
      content: { "application/json": { schema: OpenApiDocument } },
    },
    304: unchanged,
  },
});

/** Adds the routes; the document has all that are registered on `app`, whenever that is. */
export function addDocs(app: OpenAPIHono): void {
  let document: z.infer<typeof OpenApiDocument> | undefined;
  app.openapi(docsRoute, (c) => page.respond(c));
  app.openapi(fileRoute, (c) => files[c.req.valid("param").file].respond(c), (result, c) => {
    if (!result.success) return c.notFound();
  });
  app.openapi(openApiRoute, (c) => jsonResponse(c, document ??= openApiDocument(app)));
}

function openApiDocument(app: OpenAPIHono): z.infer<typeof OpenApiDocument> {
  const document = app.getOpenAPI31Document({
    openapi: "3.1.0",
    info: {
      title: "Tally",
      version: VERSION,
      license: { name: "MIT", url: "https://opensource.org/license/mit" },
      description:
        `Real-time telemetry for device fleets. Times are Unix milliseconds, rates packets per second.

There is no authentication yet: any client that reaches this port may read everything and remove devices. The
host of a request must be an IP address, localhost, TALLY_HTTP_HOST or one of TALLY_HTTP_ALLOWED_HOSTS; others get 403.

HEAD is supported wherever GET is. Every response that is neither 2xx nor 304 has problem details (RFC 9457): Error. Its
media type is application/problem+json, or application/json where Accept has that and neither the former nor a
wildcard.`,
    },
    servers: [{ url: "/", description: "The api that serves this document" }],
    security: [],
    tags,
  });
  for (const path of Object.values(document.paths ?? {})) {
    for (const operation of [path.get, path.delete]) {
      if (operation === undefined || operation.tags?.includes("Health")) continue;
      const body = { schema: { $ref: "#/components/schemas/Error" } };
      const content = { "application/problem+json": body, "application/json": body };
      operation.responses ??= {};
      operation.responses["403"] ??= { description: "The Host of the request is not allowed", content };
    }
  }
  return { ...document };
}

const tags = [
  { name: "Fleet", description: "All devices together, and the ingest processes" },
  { name: "Devices", description: "One device, or several" },
  { name: "Events", description: "Devices that go offline or come back" },
  { name: "Health", description: "For orchestrators and load balancers; served under any host name" },
  { name: "Page", description: "The monitor page, for people" },
  { name: "Documentation", description: "This document" },
];
