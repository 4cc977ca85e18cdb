/**
 * `deno task export`: writes the devices of a fleet, or their histories, to a file or to standard output.
 *
 * Exit codes: 0 when all was written, 1 when it was not, 2 for wrong flags.
 *
 * @module
 */
import { messageOf } from "../runtime/error_text.ts";
import { choice, custom, optional, path, type Values } from "../runtime/settings.ts";
import type { ParseResult } from "../runtime/settings_parser.ts";
import { formatted, readFlags, tokenFlags, tokenOption, tokenProblems } from "./command_line.ts";
import { type ExportEnd, splitEnd } from "./export_end.ts";

const usage = `Writes the devices of a fleet, or their histories, as CSV or NDJSON to standard output,
and how far it is to standard error. Ends with 1 if that is not all of them.

Usage: deno task export [flags] > fleet.csv`;

const text = { allowed: "a text", parse: (text: string) => text };

const time = {
  allowed: "a time as in 2026-11-29T12:00:00Z, or Unix milliseconds",
  parse(text: string) {
    const ms = /^\d{1,15}$/.test(text) ? Number(text) : Date.parse(text);
    return Number.isFinite(ms) && ms >= 0 ? ms : undefined;
  },
};

const flags = {
  url: custom("--url", { default: "http://localhost:8000", help: "Where the api is." }, {
    allowed: "an http or https URL",
    parse: (text) => /^https?:$/.test(URL.parse(text)?.protocol ?? "") ? text.replace(/\/$/, "") : undefined,
  }),
  what: choice("--what", ["devices", "histories", "values", "attributes"], {
    default: "devices",
    help:
      "A row for each device, or for each minute and hour of its packets or values, or for each text it has.",
  }),
  format: choice("--format", ["csv", "ndjson"], { default: "csv", help: "Form of the file." }),
  formulas: choice("--formulas", ["guarded", "plain"], {
    default: "guarded",
    help: "guarded: an apostrophe before texts that a spreadsheet takes for formulas.",
  }),
  device: optional(custom("--device", { default: "", help: "One device only." }, text)),
  prefix: optional(custom("--prefix", { default: "", help: "Only devices whose ids begin with it." }, text)),
  tag: optional(custom("--tag", { default: "", help: "Only devices with this tag, as in site=oslo." }, text)),
  status: optional(choice("--status", ["online", "offline"], { default: "", help: "Only these devices." })),
  from: optional(custom("--from", { default: "", help: "Of histories and values: from then on." }, time)),
  to: optional(custom("--to", { default: "", help: "Of histories and values: before then." }, time)),
  out: optional(path("--out", {
    default: "",
    help: "File instead of standard output; the task may write paths below data/.",
  })),
  caFile: optional(path("--ca", {
    default: "",
    help: "PEM file of certificate authorities for https, below data/.",
  })),
  ...tokenFlags,
} as const;

type Flags = Values<typeof flags>;

/** The parameters of the request that are flags of the same name. */
const PARAMETERS = ["what", "format", "formulas", "device", "prefix", "tag", "status", "from", "to"] as const;

function problems(result: ParseResult<typeof flags>): string[] {
  const { values, source } = result;
  const isOverTime = values.what === "histories" || values.what === "values";
  const unused = isOverTime ? [] : [source.from, source.to].filter((name) => name !== undefined);
  return [
    ...tokenProblems(result),
    ...unused.map((name) => `${name}: has no effect without --what histories or values`),
  ];
}

/** The response to the request for the export; throws if it is another than 200. */
async function request(flags: Flags): Promise<Response> {
  const query = new URLSearchParams();
  for (const name of PARAMETERS) if (flags[name] !== undefined) query.set(name, String(flags[name]));
  const { token } = tokenOption(flags);
  const bearer = typeof token === "function" ? await token() : token;
  const caCerts = flags.caFile === undefined ? [] : [await Deno.readTextFile(flags.caFile)];
  using client = Deno.createHttpClient({ caCerts });
  const response = await fetch(`${flags.url}/export?${query}`, {
    headers: bearer === undefined ? {} : { Authorization: `Bearer ${bearer}` },
    ...caCerts.length > 0 && { client },
  });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new Error(`${response.status} ${problem.detail ?? response.statusText}`);
}

/** Progress is written this often. */
const PROGRESS_MS = 500;

/** Writes the rows to `write`; resolves to the end of the export, or to undefined if it was cut off. */
async function copy(
  response: Response,
  format: Flags["format"],
  write: (bytes: Uint8Array) => Promise<void>,
): Promise<{ end: ExportEnd | undefined; bytes: number }> {
  const devices = Number(response.headers.get("Tally-Export-Devices"));
  let bytes = 0, lines = 0, shownMs = performance.now(), end: ExportEnd | undefined;
  const isTerminal = Deno.stderr.isTerminal();
  for await (const part of splitEnd(response.body!, format, (found) => end = found)) {
    await write(part);
    bytes += part.length;
    for (const byte of part) if (byte === 10) lines++;
    if (performance.now() - shownMs < PROGRESS_MS) continue;
    shownMs = performance.now();
    const line = `${formatted(lines)} rows of ${formatted(devices)} devices`;
    console.error(isTerminal ? `\x1b[1A\x1b[K${line}` : line);
  }
  return { end, bytes };
}

async function run(flags: Flags): Promise<number> {
  const response = await request(flags);
  const { out, format } = flags;
  // Under its name is a whole file, or none.
  const partial = `${out}.part`;
  const file = out === undefined
    ? Deno.stdout
    : await Deno.open(partial, { create: true, truncate: true, write: true });
  const write = async (bytes: Uint8Array) => {
    for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
  };
  const { end } = await copy(response, format, write);
  if (out !== undefined) file.close();
  if (end === undefined) throw new Error("it was cut off before its end: what was written is not all");
  if (out !== undefined) await Deno.rename(partial, out);
  console.error(`${formatted(end.rows)} rows, ${formatted(end.devices)} devices${out ? `: ${out}` : ""}`);
  return 0;
}

async function main(args: readonly string[]): Promise<number> {
  const options = readFlags(usage, flags, args, problems);
  if (typeof options === "number") return options;
  try {
    return await run(options);
  } catch (error) {
    console.error(`Cannot export from ${options.url}: ${messageOf(error)}`);
    return 1;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
