/**
 * Results of attacks as cells of a table.
 *
 * @module
 */
import type { AttackOutcome } from "./attacker.ts";
import type { AttackResult } from "./measure_attack.ts";

/** Names of HTTP/2 error codes (RFC 9113, section 7). */
const errorNames = [
  "NO_ERROR",
  "PROTOCOL_ERROR",
  "INTERNAL_ERROR",
  "FLOW_CONTROL_ERROR",
  "SETTINGS_TIMEOUT",
  "STREAM_CLOSED",
  "FRAME_SIZE_ERROR",
  "REFUSED_STREAM",
  "CANCEL",
  "COMPRESSION_ERROR",
  "CONNECT_ERROR",
  "ENHANCE_YOUR_CALM",
];

/** The head of the table, and a row for each result. */
export function resultCells(results: readonly AttackResult[]): string[][] {
  return [
    ["", "kept", "longest Ack", "CPU", "peak memory", "counts", "the attacker got"],
    ...results.map((result) => [
      result.name,
      share(result.keptShare),
      `${Math.round(result.longestWaitMs).toLocaleString("en")} ms`,
      share(result.cpuShare),
      result.peakMemoryBytes === undefined ? "–" : `${Math.round(result.peakMemoryBytes / 1e6)} MB`,
      result.lives ? result.wrong.length === 0 ? "exact" : "WRONG" : "DEAD",
      describeOutcome(result.outcome, result.sessionsClaimed),
    ]),
  ];
}

/** What the server did, in a line: the most frequent of each kind. */
export function describeOutcome(outcome: AttackOutcome, sessionsClaimed: number): string {
  const { closed, stillOpen, refused, goaway, resets, statuses } = outcome;
  const codes = (counts: Readonly<Record<string, number>>, name: (code: string) => string) =>
    Object.entries(counts).sort(([, a], [, b]) => b - a).map(([code, n]) => `${name(code)} × ${number(n)}`);
  const parts = [
    ...codes(goaway, (code) => `GOAWAY ${errorName(code)}`),
    ...codes(resets, (code) => `RST ${errorName(code)}`),
    ...codes(statuses, (code) => `status ${code}`),
    closed > 0 ? `${number(closed)} closed` : "",
    refused > 0 ? `${number(refused)} not accepted` : "",
    stillOpen > 0 ? `${number(stillOpen)} still open` : "",
    sessionsClaimed > 0 ? `${number(sessionsClaimed)} sessions` : "",
  ].filter((part) => part !== "");
  return parts.length === 0 ? "nothing" : parts.join(", ");
}

function errorName(code: string): string {
  return errorNames[Number(code)] ?? code;
}

function number(value: number): string {
  return value.toLocaleString("en");
}

function share(value: number | undefined): string {
  return value === undefined ? "–" : `${Math.round(100 * value)} %`;
}
