/**
 * Reads comma-separated values (RFC 4180), as spreadsheets write them.
 *
 * @see https://www.rfc-editor.org/rfc/rfc4180
 * @module
 */
import { RequestError } from "../../protocol/request_error.ts";

/** A row, and the line on which it begins, from 1 on. */
export interface CsvRow {
  /** Of the text. */
  readonly line: number;
  /** One for each column. */
  readonly fields: readonly string[];
}

/**
 * The rows of `text`, empty lines left out. The separator is the first of comma, semicolon and tab that the first line
 * has. Throws {@linkcode RequestError} for quotes where none may be.
 */
export function* readCsv(text: string): Generator<CsvRow> {
  const separator = /[,;\t]/.exec(text.slice(0, text.search(/[\r\n]|$/)))?.[0] ?? ",";
  let at = text.startsWith("\ufeff") ? 1 : 0, line = 1;
  while (at < text.length) {
    const fields: string[] = [], startLine = line;
    for (let isLast = false; !isLast;) {
      const field = text[at] === '"' ? quoted(text, at, line) : plain(text, at, separator);
      fields.push(field.value);
      line += field.lines;
      at = field.end;
      isLast = text[at] !== separator;
      if (!isLast) at++;
    }
    if (at < text.length && text[at] !== "\r" && text[at] !== "\n") throw badQuote(line);
    at += text.startsWith("\r\n", at) ? 2 : 1;
    line++;
    if (fields.length > 1 || fields[0] !== "") yield { line: startLine, fields };
  }
}

interface Field {
  readonly value: string;
  /** Offset after it. */
  readonly end: number;
  /** Line ends in it. */
  readonly lines: number;
}

function plain(text: string, start: number, separator: string): Field {
  let end = start;
  while (end < text.length && text[end] !== separator && text[end] !== "\r" && text[end] !== "\n") end++;
  return { value: text.slice(start, end), end, lines: 0 };
}

function quoted(text: string, start: number, line: number): Field {
  let end = start + 1;
  for (;; end += 2) {
    end = text.indexOf('"', end);
    if (end < 0) throw badQuote(line);
    if (text[end + 1] !== '"') break;
  }
  const value = text.slice(start + 1, end).replaceAll('""', '"');
  return { value, end: end + 1, lines: value.split(/\r\n|\r|\n/).length - 1 };
}

function badQuote(line: number): RequestError {
  return new RequestError(
    "INVALID_ARGUMENT",
    `Cannot read the CSV at line ${line}: found a quote that does not end, or text after one; expected quotes around a ` +
      "whole field, and two for each in it",
  );
}
