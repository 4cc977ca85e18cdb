/**
 * The settings of who may send and who may look; `config.ts` has all settings.
 *
 * @module
 */
import { deviceAuthKind, jwksKind, originsKind, textKind, trueFalseKind } from "./config_kinds.ts";
import { CERTIFICATE_FIELDS } from "./identity/certificate_authenticator.ts";
import { choice, custom, optional } from "./runtime/settings.ts";

const devices = { group: "Access", role: "ingest" };
const readers = { group: "Access", role: "api" };
const both = { group: "Access", role: "both" };

/** As in `config.ts`. */
export const accessSettings = {
  deviceAuth: custom("TALLY_DEVICE_AUTH", {
    ...devices,
    default: "none",
    common: true,
    help: "Credentials of devices: tokens of deno task device:add, JWTs, certificates; several may do.",
  }, deviceAuthKind),
  deviceJwks: optional(custom("TALLY_DEVICE_JWKS", {
    ...devices,
    default: "",
    help: "Keys that verify JWTs, a JSON Web Key Set: a file, read again when it changes, or a URL.",
  }, jwksKind)),
  jwtIssuer: optional(custom("TALLY_JWT_ISSUER", {
    ...devices,
    default: "",
    help: "The iss that JWTs must have; any by default.",
  }, textKind)),
  jwtAudience: optional(custom("TALLY_JWT_AUDIENCE", {
    ...devices,
    default: "",
    help: "The aud that JWTs must have; any by default.",
  }, textKind)),
  deviceCertField: choice("TALLY_DEVICE_CERT_FIELD", CERTIFICATE_FIELDS, {
    ...devices,
    default: "cn",
    help: "What of a client certificate names its devices: common name, or alternative names.",
  }),
  apiAuth: choice("TALLY_API_AUTH", ["none", "token"], {
    ...readers,
    default: "none",
    common: true,
    help: "token: readers need a token, which deno task token:add makes.",
  }),
  corsOrigins: optional(custom("TALLY_CORS_ORIGINS", {
    ...readers,
    default: "",
    help: "Origins of web pages that may read the api, besides its own page.",
  }, originsKind)),
  allowAnonymous: custom("TALLY_ALLOW_ANONYMOUS", {
    ...both,
    default: "false",
    common: true,
    help: "true: ports without authentication may be reached from other machines.",
  }, trueFalseKind),
} as const;
