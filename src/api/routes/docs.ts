/**
 * `/openapi.json`, and a page to browse it and try it out at `/docs`.
 *
 * @module
 */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";

import { VERSION } from "../../runtime/version.ts";
import type { Scope } from "../../identity/identity.ts";
import { neededScope } from "../http/access.ts";
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

With TALLY_API_AUTH=token, requests need Authorization: Bearer and a token, of the scope that is stated: metrics, read or
admin, each of which includes those before it. Others get 401 without a valid token, 403 without the scope, and 429 after
many failed attempts. With TALLY_API_AUTH=none, any client that reaches this port may do everything but manage tokens.
The host of a request must be an IP address, localhost, TALLY_HTTP_HOST or one of TALLY_HTTP_ALLOWED_HOSTS; others get
403, as does a page of another site that has no token and requests more than GET.

HEAD is supported wherever GET is. Every response that is neither 2xx nor 304 has problem details (RFC 9457): Error. Its
media type is application/problem+json, or application/json where Accept has that and neither the former nor a
wildcard.`,
    },
    servers: [{ url: "/", description: "The api that serves this document" }],
    security: [],
    tags,
  });
  document.components ??= {};
  document.components.securitySchemes = { token: { type: "http", scheme: "bearer" } };
  for (const [path, operations] of Object.entries(document.paths ?? {})) {
    for (const method of ["get", "post", "put", "patch", "delete"] as const) {
      const operation = operations[method];
      if (operation !== undefined) describeAccess(operation, neededScope(method.toUpperCase(), path));
    }
  }
  return { ...document };
}

type Paths = NonNullable<ReturnType<OpenAPIHono["getOpenAPI31Document"]>["paths"]>;
type Operation = NonNullable<Paths[string]["get"]>;

/** Adds to an operation which token it needs, and how it is refused. */
function describeAccess(operation: Operation, scope: Scope | undefined): void {
  const body = { schema: { $ref: "#/components/schemas/Error" } };
  const content = { "application/problem+json": body, "application/json": body };
  operation.responses ??= {};
  if (!operation.tags?.includes("Health")) {
    operation.responses["403"] ??= {
      description: "The Host of the request is not allowed, or the scope",
      content,
    };
  }
  if (scope === undefined) return;
  operation.security = [{ token: [scope] }];
  operation.responses["401"] ??= { description: "There is no valid token", content };
  operation.responses["429"] ??= { description: "Too many attempts failed: see Retry-After", content };
}

const tags = [
  { name: "Fleet", description: "All devices together, and the ingest processes" },
  { name: "Devices", description: "One device, or several" },
  { name: "Events", description: "Devices that go offline or come back" },
  { name: "Access", description: "Tokens of devices and readers, and who changed what; for the scope admin" },
  { name: "Health", description: "For orchestrators and load balancers; served under any host name" },
  { name: "Page", description: "The monitor page, for people" },
  { name: "Documentation", description: "This document" },
];
