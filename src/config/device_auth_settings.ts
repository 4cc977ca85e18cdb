/**
 * The settings of how devices authenticate.
 *
 * @module
 */
import { CERTIFICATE_FIELDS, type CertificateField } from "../identity/certificate_authenticator.ts";
import type { DeviceAuthKind } from "../identity/identity.ts";
import { choice, custom, type Kind, optional, type Setting } from "../runtime/settings.ts";

/** Which credentials of devices are accepted; empty: none is required. */
const deviceAuthKind: Kind<ReadonlySet<DeviceAuthKind>> = {
  allowed: "none, or token, jwt, mtls with commas between them",
  parse: parseDeviceAuth,
};

/** Where a JSON Web Key Set is. Not plain http, but from this machine: who changes it becomes every device. */
const jwksKind: Kind<string> = {
  allowed: "a path, or an https URL",
  parse: (text) => isPathOrHttpsUrl(text) ? text : undefined,
};

/** Text that is compared as it is. */
const textKind: Kind<string> = { allowed: "any text", parse: (text) => text };

/** The settings by the names the code uses. */
export interface DeviceAuthSettings {
  /** Empty: none is required. */
  readonly deviceAuth: Setting<ReadonlySet<DeviceAuthKind>>;
  /** A path or a URL. */
  readonly deviceJwks: Setting<string | undefined>;
  /** `iss`. */
  readonly jwtIssuer: Setting<string | undefined>;
  /** `aud`. */
  readonly jwtAudience: Setting<string | undefined>;
  /** Names devices. */
  readonly deviceCertField: Setting<CertificateField>;
}

/** The settings, with the group of the help that they are in, and the role that reads them. */
export function deviceAuthSettings(
  group: { readonly group: string; readonly role: string },
): DeviceAuthSettings {
  return {
    deviceAuth: custom("TALLY_DEVICE_AUTH", {
      ...group,
      default: "none",
      common: true,
      help: "Credentials of devices: tokens of deno task device:add, JWTs, certificates; several may do.",
    }, deviceAuthKind),
    deviceJwks: optional(custom("TALLY_DEVICE_JWKS", {
      ...group,
      default: "",
      help: "Keys that verify JWTs, a JSON Web Key Set: a file, read again when it changes, or a URL.",
    }, jwksKind)),
    jwtIssuer: optional(custom("TALLY_JWT_ISSUER", {
      ...group,
      default: "",
      help: "The iss that JWTs must have; any by default.",
    }, textKind)),
    jwtAudience: optional(custom("TALLY_JWT_AUDIENCE", {
      ...group,
      default: "",
      help: "The aud that JWTs must have; any by default.",
    }, textKind)),
    deviceCertField: choice("TALLY_DEVICE_CERT_FIELD", CERTIFICATE_FIELDS, {
      ...group,
      default: "cn",
      help: "What of a client certificate names its devices: common name, or alternative names.",
    }),
  };
}

function parseDeviceAuth(text: string): ReadonlySet<DeviceAuthKind> | undefined {
  if (text === "none") return new Set();
  const words = text.split(",").map((word) => word.trim());
  const kinds = words.filter((word) => word === "token" || word === "jwt" || word === "mtls");
  return kinds.length === words.length ? new Set(kinds) : undefined;
}

function isPathOrHttpsUrl(text: string): boolean {
  if (!/^[a-z]+:\/\//i.test(text)) return !text.includes("\0");
  const url = URL.parse(text);
  return url?.protocol === "https:" ||
    (url?.protocol === "http:" && /^(localhost|127\.0\.0\.1|\[::1\])$/.test(url.hostname));
}
