/**
 * `deno task capacity`: what a fleet needs, computed from what the bench measured.
 *
 * Exit codes: 0 when it is printed, 2 for wrong flags.
 *
 * @module
 */
import { custom, integer, type Values } from "../runtime/settings.ts";
import type { MeasuredFigure } from "./capacity_figures.ts";
import { capacityOf, type Need } from "./capacity_plan.ts";
import { formatted, rateFlag, readFlags } from "./command_line.ts";

const usage = `Prints what a fleet needs of Tally and Redis, from what the bench measured; what is beyond
that is marked as extrapolated.

Usage: deno task capacity [flags]`;

const flags = {
  devices: integer("--devices", {
    default: "100000",
    min: "1",
    max: "10000000000",
    help: "How many devices.",
  }),
  rate: rateFlag("--rate", { default: "1", help: "Packets per second of each device." }),
  payloadBytes: integer("--payload", {
    default: "16",
    min: "0",
    max: "65536",
    help: "Bytes of each packet's payload.",
  }),
  devicesPerConnection: integer("--devices-per-connection", {
    default: "1",
    min: "1",
    max: "1000000",
    help: "1: each device has a connection of its own; more: those of a gateway.",
  }),
  coreShare: custom("--core-share", {
    default: "50",
    help: "Percent of each core that is planned for; the rest is for peaks.",
  }, {
    allowed: "a whole number from 1 to 100",
    parse: (text) => /^(100|[1-9]\d?)$/.test(text) ? Number(text) / 100 : undefined,
  }),
} as const;

/** Units of one step of a thousand. */
const PREFIXES = ["", "k", "M", "G", "T", "P"];

/** `17.8 GB`, `1,234 processes` */
export function quantityText({ value, unit }: Pick<Need, "value" | "unit">): string {
  if (unit === "processes" || unit === "connections") return formatted(value);
  if (unit === "packets/s" || unit === "updates/s") return `${formatted(Math.round(value))}/s`;
  const step = Math.min(PREFIXES.length - 1, Math.max(0, Math.floor(Math.log10(value) / 3)));
  const scaled = (value / 1000 ** step).toLocaleString("en-US", { maximumSignificantDigits: 3 });
  return `${scaled} ${unit === "bytes" ? PREFIXES[step]!.toUpperCase() + "B" : PREFIXES[step]! + unit}`;
}

/** The plan, and the figures it is computed from. */
export function capacityText(needs: readonly Need[]): string {
  const rows = needs.map((need) => [need.what, quantityText(need), need.how]);
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row[column]!.length)));
  const lines = rows.flatMap(([what, quantity, how], index) => {
    const { extrapolated } = needs[index]!;
    const line = `${what!.padEnd(widths[0]!)}   ${quantity!.padStart(widths[1]!)}   ${how}`;
    const indent = " ".repeat(widths[0]! + widths[1]! + 6);
    return extrapolated === undefined ? [line] : [line, `${indent}EXTRAPOLATED: ${extrapolated}`];
  });
  const used = [...new Set(needs.flatMap(({ uses }) => uses))];
  return [...lines, "", "Measured figures:", ...used.flatMap(figureLines), "", notIncluded].join("\n");
}

function figureLines({ what, value, unit, source, measured }: MeasuredFigure): string[] {
  const quantity = unit === "µs" ? `${value} µs` : quantityText({ value, unit: "bytes" });
  return [
    `  ${what}: ${quantity}`,
    `    ${measured.date}, ${measured.machine}`,
    `    ${source}`,
  ];
}

const notIncluded =
  `Not included: the apis, which hold every device in memory; replicas of Redis, its persistence and
TLS. TALLY_MAX_DEVICES and TALLY_MAX_SESSIONS limit the store to 1,000,000 each unless they are raised.`;

function main(args: readonly string[]): number {
  const options: Values<typeof flags> | number = readFlags(usage, flags, args);
  if (typeof options === "number") return options;
  console.log(capacityText(capacityOf(options)));
  return 0;
}

if (import.meta.main) Deno.exit(main(Deno.args));
