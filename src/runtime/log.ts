/**
 * Logs: one line per event, JSON for machines or text for a terminal, through LogTape. What logs gets a
 * LogTape `Logger` as an argument.
 *
 * Event text is constant and what varies is a property, so that lines can be searched:
 * `log.info("ingest listening", { host, port })`. A payload never gets into a line: bytes are shown by
 * their length, and of an error only name, message, stack and cause are kept, because database clients
 * attach the failed command's arguments to theirs.
 *
 * @module
 */
import {
  configureSync,
  getJsonLinesFormatter,
  getLogger,
  getTextFormatter,
  type Logger,
  type LogRecord,
  resetSync,
  sanitizeControlSequences,
} from "@logtape/logtape";

import { messageOf } from "./error_text.ts";

/** Which lines are written, how, and where to. */
export interface LogOptions {
  /** Least severe level written. */
  readonly level: "debug" | "info" | "warning" | "error";
  /** `json`: one object per line. `text`: for people. */
  readonly format: "json" | "text";
  /** Takes one line, newline included, and returns at once. */
  readonly write: (line: string) => void;
}

/** Starts logging for this process; the result is the root logger, `tally`. */
export function startLogging({ level, format, write }: LogOptions): Logger {
  const formatted = format === "json" ? jsonLine : textLine;
  configureSync({
    sinks: { lines: (record) => write(formatted(withoutPayloads(record))) },
    loggers: [
      { category: "tally", lowestLevel: level, sinks: ["lines"] },
      { category: ["logtape", "meta"], lowestLevel: "warning", sinks: ["lines"] },
    ],
  });
  return getLogger("tally");
}

/** How log lines are written: as configured, or with `auto` as text on a terminal and as JSON elsewhere. */
export function logFormatOf(configured: "auto" | "json" | "text", isTerminal: boolean): "json" | "text" {
  if (configured !== "auto") return configured;
  return isTerminal ? "text" : "json";
}

/** Logs an error that ends the program: its message, and at debug level its stack. */
export function logFailure(log: Logger, error: unknown): void {
  log.error("failed", { reason: messageOf(error) });
  log.debug("failed", { error });
}

/** Ends logging: later lines go nowhere, and {@linkcode startLogging} may be called again. */
export function stopLogging(): void {
  resetSync();
}

const jsonLine = getJsonLinesFormatter({ properties: "flatten" });

const textLine = getTextFormatter({
  timestamp: "time",
  timeZone: null,
  level: "FULL",
  category: ".",
  format: ({ timestamp, level, category, message, record }) =>
    `${timestamp} ${level.padEnd(7)} ${category}: ${message}${propertiesText(record)}`,
});

/** What is kept of an error. */
interface LoggedError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly cause?: unknown;
}

function withoutPayloads(record: LogRecord): LogRecord {
  const properties = Object.entries(record.properties).map(([key, value]) => [key, loggable(value)]);
  // Text and values take turns. In the middle of a sentence an error is its message.
  const message = record.message.map((part) => part instanceof Error ? part.message : loggable(part));
  return { ...record, message, properties: Object.fromEntries(properties) };
}

function loggable(value: unknown): unknown {
  if (value instanceof Uint8Array) return `<${value.length} bytes>`;
  return value instanceof Error ? loggedError(value) : value;
}

function loggedError({ name, message, stack, cause }: Error): LoggedError {
  return { name, message, stack, ...(cause === undefined ? {} : { cause: loggable(cause) }) };
}

/** Properties that the message lacks: values after it; errors below it, each cause under what it caused. */
function propertiesText({ properties, rawMessage }: LogRecord): string {
  return Object.entries(properties)
    .filter(([key, value]) => isLoggedError(value) || !rawMessage.includes(`{${key}}`))
    .map(([key, value]) => isLoggedError(value) ? errorText(value) : ` ${key}=${JSON.stringify(value)}`)
    .sort((a, b) => Number(a.startsWith("\n")) - Number(b.startsWith("\n")))
    .join("");
}

function errorText(error: LoggedError): string {
  const text = error.stack ?? `${error.name}: ${error.message}`;
  const cause = isLoggedError(error.cause) ? `\ncaused by:${errorText(error.cause)}` : "";
  return `\n${sanitizeControlSequences(text, { sgr: "escape" })}${cause}`;
}

function isLoggedError(value: unknown): value is LoggedError {
  return typeof value === "object" && value !== null && "stack" in value && "message" in value;
}
