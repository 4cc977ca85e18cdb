/**
 * Results as data, as text for a terminal, and as Markdown.
 *
 * @module
 */

/** What is measured, once per run. */
export interface Figure {
  readonly values: readonly number[];
  readonly unit:
    | "packets/s"
    | "requests/s"
    | "handshakes/s"
    | "×"
    | "ms"
    | "µs"
    | "bytes"
    | "share"
    | "count";
  /** What was wrong meanwhile: the values are not to be believed. */
  readonly wrong?: string | undefined;
  /** What was measured with had its limit here: the true values are not lower. */
  readonly atLeast?: boolean;
  /** Share of one core that the load generator used, run by run. */
  readonly generatorCpu?: readonly number[];
}

/** One line of a table. */
export interface Row {
  readonly name: string;
  /** By column; a column may be missing. */
  readonly figures: Readonly<Record<string, Figure>>;
  /** Why there are no figures. */
  readonly failure?: string;
}

/** One table. */
export interface Section {
  readonly title: string;
  /** What was done, and what the columns are. */
  readonly about: string;
  readonly rows: readonly Row[];
}

/** Middle of the values, or of the two in the middle. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The value below which a share of the values lies, between two of them in proportion. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = share * (sorted.length - 1), below = Math.floor(at);
  const [low = NaN, high = low] = sorted.slice(below, below + 2);
  return low + (high - low) * (at - below);
}

/** What was wrong with the rows, each thing once. */
export function wrongs({ rows }: Section): string[] {
  return rows.flatMap(({ name, figures, failure }) => {
    const all = [failure, ...Object.values(figures).map(({ wrong }) => wrong)];
    return [...new Set(all)].filter((wrong) => wrong !== undefined).map((wrong) => `${name}: ${wrong}`);
  });
}

/** Median, and the least and greatest when there are several. */
export function describeFigure({ values, unit, wrong, atLeast }: Figure): string {
  if (wrong !== undefined) return "WRONG";
  if (values.length === 0) return "–";
  const middle = `${atLeast ? "≥ " : ""}${withUnit(median(values), unit)}`;
  const [least, greatest] = [Math.min(...values), Math.max(...values)].map((value) => plain(value, unit));
  return least === greatest ? middle : `${middle} (${least}–${greatest})`;
}

function withUnit(value: number, unit: Figure["unit"]): string {
  const text = plain(value, unit);
  if (unit === "bytes") return `${text} ${value < 1e3 ? "B" : value < 1e6 ? "KB" : "MB"}`;
  if (unit === "ms" || unit === "µs") return `${text} ${unit}`;
  if (unit === "share") return `${text} %`;
  return unit === "×" ? `${text} ×` : text;
}

function plain(value: number, unit: Figure["unit"]): string {
  const digits = (scaled: number) => scaled.toLocaleString("en", { maximumSignificantDigits: 3 });
  switch (unit) {
    case "packets/s":
    case "requests/s":
      if (value >= 1e6) return `${digits(value / 1e6)}M`;
      return value >= 1e4 ? `${digits(value / 1e3)}k` : digits(value);
    case "bytes":
      return digits(value < 1e3 ? value : value < 1e6 ? value / 1e3 : value / 1e6);
    case "share":
      return (value * 100).toLocaleString("en", { maximumFractionDigits: 1 });
    default:
      return digits(value);
  }
}

/** One table as text. */
export function sectionText(section: Section): string {
  return [
    section.title,
    wrapped(section.about),
    "",
    textTable(cellsOf(section)),
    ...wrongs(section).map((wrong) => `WRONG  ${wrong}`),
    "",
  ].join("\n");
}

/** Rows of cells as text, the first row as the head; the first column is left-aligned. */
export function textTable(cells: readonly (readonly string[])[]): string {
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  const lines = cells.map((row) =>
    row.map((cell, column) => column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)).join(
      "   ",
    )
  );
  return [lines[0], "─".repeat(lines[0]!.length), ...lines.slice(1)].join("\n");
}

/** One table as Markdown, as `deno fmt` formats it. */
export function sectionMarkdown(section: Section): string {
  return `${wrapped(`**${section.title}.** ${section.about}`)}\n\n${markdownTable(cellsOf(section))}\n`;
}

/** Rows of cells as Markdown, the first row as the head; the first column is left-aligned. */
export function markdownTable([head, ...body]: readonly (readonly string[])[]): string {
  const widths = head!.map((_, column) => Math.max(3, ...[head!, ...body].map((row) => row[column]!.length)));
  const line = (row: readonly string[]) =>
    `| ${
      row.map((cell, column) => column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)).join(
        " | ",
      )
    } |`;
  const rule = `| ${
    widths.map((width, column) => column === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`).join(" | ")
  } |`;
  return [line(head!), rule, ...body.map(line)].join("\n");
}

/** As wide as the rest of the documents. */
const LINE_WIDTH = 110;

/** The text in lines. */
export function wrapped(text: string): string {
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1)!;
    if (line === "") lines[lines.length - 1] = word;
    else if (line.length + 1 + word.length <= LINE_WIDTH) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines.join("\n");
}

function cellsOf({ rows }: Section): string[][] {
  // A row may lack some; the one that has most knows their order.
  const byFigures = rows.map(({ figures }) => Object.keys(figures)).toSorted((a, b) => b.length - a.length);
  const columns = [...new Set(byFigures.flat())];
  return [
    ["", ...columns],
    ...rows.map(({ name, figures, failure }) => [
      name,
      ...columns.map((column) => {
        const figure = figures[column];
        return figure === undefined ? failure === undefined ? "–" : "FAILED" : describeFigure(figure);
      }),
    ]),
  ];
}
