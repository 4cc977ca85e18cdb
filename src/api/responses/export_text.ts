/**
 * An export as text, part by part.
 *
 * @module
 */
import type { ExportParameters } from "../schemas/export.ts";
import { csvLine } from "./csv_writer.ts";
import { cellOf, type ExportTable, type Row } from "./export_rows.ts";

/** The parts; the last one shows that the export is whole. Rejects as the store does. */
export async function* exportText(
  { columns, pages }: ExportTable,
  { format, formulas }: Pick<ExportParameters, "format" | "formulas">,
): AsyncGenerator<string> {
  const guards = formulas === "guarded", isCsv = format === "csv";
  const line = isCsv
    ? (row: Row) => csvLine(columns.map((column) => cellOf(row, column)), guards)
    : (row: Row) => `${JSON.stringify(row)}\n`;
  if (isCsv) yield csvLine(columns, guards);
  let rows = 0, devices = 0;
  for await (const page of pages()) {
    let text = "";
    for (const row of page.rows) text += line(row);
    rows += page.rows.length;
    devices += page.devices;
    if (text !== "") yield text;
  }
  yield isCsv
    ? `# end: ${rows} rows, ${devices} devices\n`
    : `${JSON.stringify({ end: true, rows, devices })}\n`;
}
