/**
 * A run's result as text.
 *
 * @module
 */
import type { ChaosResult } from "./run.ts";

/** Whether nothing was lost, nothing counted twice, and nothing else went wrong. */
export function isExact({ comparison, violations }: ChaosResult): boolean {
  return comparison.differences.length === 0 && violations.length === 0;
}

/** Shares of the valid packets that the comparison covers, in percent: at the end, and before the store lost them. */
function comparedShares({ comparison: { rows, comparedBefore } }: ChaosResult) {
  const counted = rows.reduce((total, row) => total + row.counted, 0);
  const valid = rows.reduce((total, row) => total + row.sent - row.invalid, 0);
  return { atEnd: Math.round(100 * counted / valid), before: Math.round(100 * comparedBefore / valid) };
}

/** Lines of differences that are shown. */
const SHOWN_DIFFERENCES = 50;

/** Tables of the faults and of what was sent and counted; then what is wrong. */
export function describeResult(result: ChaosResult): string {
  const { faults, leftOut, comparison: { rows, differences }, violations } = result;
  const columns = [
    "clients",
    "devices",
    "sent",
    "invalid",
    "acknowledged",
    "counted",
    "gone",
    "lost",
    "double",
  ] as const;
  const { atEnd, before } = comparedShares(result);
  const sum = (column: typeof columns[number]) => rows.reduce((total, row) => total + row[column], 0);
  const injected = [...faults.values()].filter((times) => times > 0);
  const total = injected.reduce((total, times) => total + times, 0);
  return [
    table([["fault", "times"], ...faults, [`${injected.length} kinds`, total]]),
    table([
      ["kind of client", ...columns],
      ...rows.map((row) => [row.kind, ...columns.map((column) => row[column])]),
      ["together", ...columns.map(sum)],
    ]),
    ...leftOut.map((what) => `left out: ${what}`),
    ...violations.map((what) => `WRONG  ${what}`),
    ...differences.slice(0, SHOWN_DIFFERENCES).map((line) => `WRONG  ${line}`),
    ...(differences.length > SHOWN_DIFFERENCES
      ? [`       and ${differences.length - SHOWN_DIFFERENCES} devices more`]
      : []),
    `${atEnd} % of the valid packets are in the store at the end and were compared there, ` +
    `a further ${before} % before the store lost them`,
    `${sum("gone")} gone with the store or a file, ${sum("lost")} lost by Tally, ${sum("double")} double${
      isExact(result) ? "" : ": NOT EXACT"
    }`,
  ].join("\n");
}

/** First column to the left, numbers to the right; the first row is the head. */
function table(rows: readonly (readonly (string | number)[])[]): string {
  const text = rows.map((row) =>
    row.map((cell) => typeof cell === "number" ? cell.toLocaleString("en") : cell)
  );
  const widths = text[0]!.map((_, column) => Math.max(...text.map((row) => row[column]!.length)));
  const lines = text.map((row) =>
    row.map((cell, column) => column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)).join(
      "  ",
    )
  );
  const rule = "─".repeat(lines[0]!.length);
  return [lines[0], rule, ...lines.slice(1, -1), rule, lines.at(-1), ""].join("\n");
}
