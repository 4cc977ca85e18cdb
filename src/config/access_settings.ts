/**
 * The settings of who may read, and from where ports without authentication may be reached.
 *
 * @module
 */
import { choice, custom, type Kind, optional } from "../runtime/settings.ts";

const readers = { group: "Access", role: "api" };

/** A switch, in the words of YAML files. */
const trueFalseKind: Kind<boolean> = {
  allowed: "true, false",
  parse: (text) => text === "true" ? true : text === "false" ? false : undefined,
};

/** Origins of web pages. */
const originsKind: Kind<readonly string[]> = {
  allowed: "origins such as https://dashboard.example.com with commas between them",
  parse: parseOrigins,
};

/** The settings by the names the code uses. */
export const accessSettings = {
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
    group: "Access",
    role: "both",
    default: "false",
    common: true,
    help: "true: ports without authentication may be reached from other machines.",
  }, trueFalseKind),
} as const;

function parseOrigins(text: string): readonly string[] | undefined {
  const origins = text.split(",").map((origin) => origin.trim()).filter((origin) => origin !== "");
  const isOrigin = (origin: string) => /^https?:/.test(origin) && URL.parse(origin)?.origin === origin;
  return origins.length > 0 && origins.every(isOrigin) ? origins : undefined;
}
