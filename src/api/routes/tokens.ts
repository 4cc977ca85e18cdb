/**
 * `/tokens`: adding, listing and revoking tokens of devices and readers.
 *
 * @module
 */
import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";

import type { Auditor } from "../../identity/auditor.ts";
import { issueTokens, revokeTokens, type TokenAdminStore } from "../../identity/issued_tokens.ts";
import type { TokenLookup } from "../../identity/token_lookup.ts";
import { RequestError } from "../../protocol/request_error.ts";
import type { CredentialStore, TokenRecord } from "../../store/credentials.ts";
import { readerOf } from "../http/access.ts";
import { jsonResponse } from "../http/json_response.ts";
import { body, invalid, json, problem, unavailable, unchanged } from "../http/openapi.ts";
import {
  DeviceTokenRequest,
  DeviceTokens,
  ReaderToken,
  ReaderTokenRequest,
  TokenList,
  TokenParameters,
  TokenPath,
} from "../schemas/token.ts";

/** What the routes need. */
export interface TokensOptions {
  /** Has the tokens. */
  readonly store: TokenAdminStore & Pick<CredentialStore, "tokens">;
  /** Has those that readers present; undefined: none are required, and these routes are refused. */
  readonly tokens: TokenLookup | undefined;
  /** Records what was added and revoked, and by which reader. */
  readonly auditor: Auditor;
}

const tags = ["Access"];
const refused = problem("The token lacks the scope admin, or none is required: TALLY_API_AUTH is none");

const addDevicesRoute = createRoute({
  method: "post",
  path: "/tokens/devices",
  operationId: "addDeviceTokens",
  tags,
  summary: "Add tokens of devices",
  description: "One for each id or pattern, all or none. Each token is in this response only.",
  request: body(DeviceTokenRequest),
  responses: {
    201: json(DeviceTokens, "The tokens"),
    400: invalid,
    403: refused,
    411: problem("The body has no Content-Length"),
    413: problem("The body is too large"),
    415: problem("The body is not JSON"),
    503: unavailable,
  },
});

const addReaderRoute = createRoute({
  method: "post",
  path: "/tokens/readers",
  operationId: "addReaderToken",
  tags,
  summary: "Add a token of a reader",
  description: "It is in this response only.",
  request: body(ReaderTokenRequest),
  responses: {
    201: json(ReaderToken, "The token"),
    400: invalid,
    403: refused,
    411: problem("The body has no Content-Length"),
    413: problem("The body is too large"),
    415: problem("The body is not JSON"),
    503: unavailable,
  },
});

const listRoute = createRoute({
  method: "get",
  path: "/tokens",
  operationId: "listTokens",
  tags,
  summary: "List tokens",
  description: "By id, without the tokens themselves, which are not stored.",
  request: { query: TokenParameters },
  responses: {
    200: json(TokenList, "A page of tokens"),
    304: unchanged,
    400: invalid,
    403: refused,
    503: unavailable,
  },
});

const revokeRoute = createRoute({
  method: "delete",
  path: "/tokens/{id}",
  operationId: "revokeToken",
  tags,
  summary: "Revoke a token",
  description:
    "It is refused from now on here, and within 5 seconds by all processes, which end the streams that " +
    "were opened with it.",
  request: { params: TokenPath },
  responses: {
    204: { description: "It is revoked" },
    400: invalid,
    403: refused,
    404: problem("No such token"),
    503: unavailable,
  },
});

/** Adds the routes. */
export function addTokens(app: OpenAPIHono, options: TokensOptions): void {
  const { store, auditor } = options;
  app.openapi(addDevicesRoute, async (c) => {
    assertTokensRequired(options);
    const { devices: subjects } = c.req.valid("json");
    const request = { kind: "device", subjects, scopes: [] } as const;
    const issued = await issueTokens(store, auditor, readerOf(c).name, request);
    const tokens = issued.map(({ token, record }) => ({ id: record.id, device: record.subject, token }));
    return c.json({ tokens } satisfies DeviceTokens, 201, { "Cache-Control": "no-store" });
  });
  app.openapi(addReaderRoute, async (c) => {
    assertTokensRequired(options);
    const { name, scopes } = c.req.valid("json");
    const request = { kind: "reader", subjects: [name], scopes } as const;
    const [issued] = await issueTokens(store, auditor, readerOf(c).name, request);
    const { token, record } = issued!;
    return c.json({ id: record.id, name, scopes, token } satisfies ReaderToken, 201, {
      "Cache-Control": "no-store",
    });
  });
  app.openapi(listRoute, async (c) => {
    assertTokensRequired(options);
    const { kind, after, limit } = c.req.valid("query");
    const records = await store.tokens(kind, after, limit);
    const next = records.length < limit ? null : records.at(-1)!.id;
    return jsonResponse<TokenList>(c, { tokens: records.map(tokenJson), next });
  });
  app.openapi(revokeRoute, async (c) => {
    assertTokensRequired(options);
    const { id } = c.req.valid("param");
    const revoked = await revokeTokens(store, auditor, readerOf(c).name, [id]);
    if (revoked.length === 0) {
      throw new RequestError("NOT_FOUND", `there is no token with the id ${JSON.stringify(id)}`);
    }
    // In this process at once; where the store fails now, the next poll repeats it.
    await options.tokens?.poll().catch(() => {});
    return c.body(null, 204);
  });
}

function assertTokensRequired({ tokens }: TokensOptions): void {
  if (tokens !== undefined) return;
  throw new RequestError(
    "PERMISSION_DENIED",
    "Cannot manage tokens: found an api that requires none, so that any client might add one; " +
      "set TALLY_API_AUTH=token, and add the first token with deno task token:add",
  );
}

function tokenJson(
  { id, kind, subject, scopes, createdMs, createdBy, lastUsedMs }: TokenRecord,
): TokenList["tokens"][number] {
  return {
    ...{ id, kind, subject, scopes: [...scopes] },
    ...{ created_ms: createdMs, created_by: createdBy, last_used_ms: lastUsedMs },
  };
}
