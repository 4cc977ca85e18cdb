/**
 * Tokens of devices and readers, and requests for them.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

import { DEVICE_PATTERN_RULE, isDevicePattern } from "../../identity/device_pattern.ts";
import { SCOPES } from "../../identity/identity.ts";
import { MAX_READER_NAME, READER_NAME_RULE, readerName } from "../../identity/reader_name.ts";
import { MAX_DEVICE_ID_BYTES } from "../../protocol/field_limits.ts";
import { MAX_TOKENS_PER_CALL } from "../../store/credentials.ts";
import { unixMs } from "./fields.ts";
import { choice, limit, query, text } from "./parameters.ts";

/** Characters of a token's id. */
const MAX_ID = 64;

const patternExpected = `expected ${DEVICE_PATTERN_RULE}`;
const nameExpected = `expected ${READER_NAME_RULE}`;
const scopesExpected = `expected one or more of ${SCOPES.join(", ")}, each once`;
const devicesExpected = `expected 1 to ${MAX_TOKENS_PER_CALL} ids or patterns, each once`;
const bodyExpected = "expected a JSON object with these fields only";

const tokenId = z.string().openapi({ description: "Names the token; no secret" });
const token = z.string().openapi({ description: "The token itself: it is shown this once, and not stored" });
const scope = choice(SCOPES);
const kind = choice(["device", "reader"]);

const isUnique = (values: readonly string[]) => new Set(values).size === values.length;

/** @internal */
export const DeviceTokenRequest = z.strictObject({
  devices: z.array(
    z.string({ error: patternExpected }).refine(isDevicePattern, { error: patternExpected }).openapi({
      description: "Id of a device, or the beginning of ids and a *: the token is for all of these",
      minLength: 1,
      maxLength: MAX_DEVICE_ID_BYTES + 1,
      example: "factory-7/*",
    }),
    { error: devicesExpected },
  ).min(1, devicesExpected).max(MAX_TOKENS_PER_CALL, devicesExpected)
    .refine(isUnique, { error: devicesExpected })
    .openapi({ minItems: 1, maxItems: MAX_TOKENS_PER_CALL, uniqueItems: true }),
}, { error: bodyExpected }).openapi("DeviceTokenRequest");

/** Tokens of devices that were added. */
export type DeviceTokens = z.infer<typeof DeviceTokens>;

/** @internal */
export const DeviceTokens = z.object({
  tokens: z.array(z.object({ id: tokenId, device: z.string(), token })),
}).openapi("DeviceTokens");

/** @internal */
export const ReaderTokenRequest = z.strictObject({
  name: z.string({ error: nameExpected }).regex(readerName, nameExpected).openapi({
    description: "Who will use it: the actor in the audit log",
    minLength: 1,
    maxLength: MAX_READER_NAME,
    example: "prometheus",
  }),
  scopes: z.array(scope, { error: scopesExpected }).min(1, scopesExpected)
    .refine(isUnique, { error: scopesExpected })
    .openapi({
      description:
        "read: GET of everything but tokens and the audit log; metrics: GET /metrics only; admin: all",
      minItems: 1,
      uniqueItems: true,
      example: ["metrics"],
    }),
}, { error: bodyExpected }).openapi("ReaderTokenRequest");

/** A token of a reader that was added. */
export type ReaderToken = z.infer<typeof ReaderToken>;

/** @internal */
export const ReaderToken = z.object({ id: tokenId, name: z.string(), scopes: z.array(scope), token })
  .openapi("ReaderToken");

/** A page of tokens, without the tokens themselves, which are not stored. */
export type TokenList = z.infer<typeof TokenList>;

/** @internal */
export const TokenList = z.object({
  tokens: z.array(z.object({
    id: tokenId,
    kind,
    subject: z.string().openapi({ description: "A device's id or pattern of ids, or a reader's name" }),
    scopes: z.array(z.string()).openapi({ description: "Of a reader" }),
    created_ms: unixMs,
    created_by: z.string(),
    last_used_ms: unixMs.openapi({ description: "To the minute, Unix milliseconds; 0: never" }),
  })),
  next: z.string().nullable().openapi({ description: "`after` of the next page; null on the last one" }),
}).openapi("TokenList");

/**
 * Which tokens to list.
 * @internal
 */
export const TokenParameters = query({
  kind,
  after: text(MAX_ID, "next of the page before").default(""),
  limit,
});

/**
 * Names a token.
 * @internal
 */
export const TokenPath = z.strictObject({
  id: text(MAX_ID, "Id of the token").openapi({ param: { name: "id", in: "path" } }),
});
