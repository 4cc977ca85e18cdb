/**
 * Tables as CSV: RFC 4180, with LF at the ends of lines.
 *
 * @module
 */

/** A value in a table; null: an empty cell. */
export type Cell = string | number | boolean | null;

/** What spreadsheets take for the beginning of a formula, also in full width. */
const FORMULA = /^[=+\-@\t\r\n＝＋－＠]/;

/** What must be in quotes. */
const SPECIAL = /[",\r\n]/;

/**
 * One line. `guards`: a text that a spreadsheet would take for a formula gets an apostrophe before it; devices choose
 * their ids and attributes, and a formula can send what else is in the sheet to anyone.
 */
export function csvLine(cells: readonly Cell[], guards: boolean): string {
  let line = "";
  for (let i = 0; i < cells.length; i++) line += (i === 0 ? "" : ",") + csvCell(cells[i]!, guards);
  return line + "\n";
}

function csvCell(cell: Cell, guards: boolean): string {
  if (typeof cell !== "string") return cell === null ? "" : String(cell);
  const text = guards && FORMULA.test(cell) ? `'${cell}` : cell;
  return SPECIAL.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
