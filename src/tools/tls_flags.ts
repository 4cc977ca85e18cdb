/**
 * The flags of TLS that the command-line tools share.
 *
 * @module
 */
import type { ClientTls } from "../client/client_options.ts";
import { messageOf } from "../runtime/error_text.ts";
import { choice, optional, path, type Values } from "../runtime/settings.ts";
import type { ParseResult } from "../runtime/settings_parser.ts";

/** How the connection is encrypted, and what authenticates the device. */
export const tlsFlags = {
  tls: choice("--tls", ["auto", "on"], {
    default: "auto",
    help: "on: TLS with the authorities that Deno trusts; auto: TLS where --ca or --cert is set.",
  }),
  ca: optional(path("--ca", {
    default: "",
    help: "PEM file of the authorities of the ingest's certificate. Files must be below data/.",
  })),
  cert: optional(path("--cert", {
    default: "",
    help: "PEM file of the device's certificate.",
  })),
  key: optional(path("--key", {
    default: "",
    help: "PEM file of its private key.",
  })),
} as const;

/** The client's option for {@linkcode tlsFlags}; throws where a file cannot be read. */
export function tlsOption({ tls, ca, cert, key }: Values<typeof tlsFlags>): { readonly tls?: ClientTls } {
  if (tls === "auto" && ca === undefined && cert === undefined) return {};
  return {
    tls: {
      ...ca === undefined ? {} : { ca: readPem("--ca", ca) },
      ...cert === undefined ? {} : { cert: readPem("--cert", cert) },
      ...key === undefined ? {} : { key: readPem("--key", key) },
    },
  };
}

/** What is wrong with {@linkcode tlsFlags} together, and with their files. */
export function tlsProblems({ values, source }: ParseResult<typeof tlsFlags>): string[] {
  const problems = (["ca", "cert", "key"] as const).flatMap((name) => {
    const file = values[name];
    const isAllowed = file === undefined ||
      Deno.permissions.querySync({ name: "read", path: file }).state === "granted";
    return isAllowed
      ? []
      : [`${source[name]}: found ${JSON.stringify(file)}; the task may read paths below data/ only`];
  });
  if ((source.cert === undefined) !== (source.key === undefined)) {
    problems.push("--cert and --key: found one of them; set both, or neither");
  }
  return problems;
}

function readPem(flag: string, file: string): string {
  try {
    return Deno.readTextFileSync(file);
  } catch (cause) {
    throw new Error(`Cannot use ${flag} ${file}: found that it cannot be read (${messageOf(cause)})`, {
      cause,
    });
  }
}
