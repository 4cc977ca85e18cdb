/**
 * What one payload has: numbers and short texts by name.
 *
 * @module
 */
import { Buffer } from "node:buffer";

/** Longest name, and longest text, in bytes of UTF-8. */
export const MAX_NAME_BYTES = 64, MAX_TEXT_BYTES = 64;

/** How deep what is nested is read: the names of `{"a": {"b": {"c": 1}}}` are that deep. */
export const MAX_DEPTH = 3;

/** Items of an array that are read. */
export const MAX_ITEMS = 8;

/** Stands for a name that is longer than is read. */
export const TOO_LONG: string = "-".repeat(MAX_NAME_BYTES + 1);

/** The name of a number that is the whole payload. */
export const BARE_NAME = "value";

/** Collects what a payload has, the first names of it. */
export class Sample {
  /** Of each number: its name. May have a name twice: the last one counts. */
  readonly names: string[] = [];
  /** Of each number: the number, finite. */
  readonly numbers: number[] = [];
  /** Of each text: its name. */
  readonly textNames: string[] = [];
  /** Of each text: at most {@linkcode MAX_TEXT_BYTES} bytes of UTF-8. */
  readonly texts: string[] = [];
  /** Names that were left out: there were too many, or they were empty or too long. */
  dropped = 0;

  /** Has nothing yet. `maxNames`: of numbers, and of texts. */
  constructor(readonly maxNames: number) {}

  /** A number; what is not finite is no value. */
  number(name: string, value: number): void {
    if (!Number.isFinite(value)) return;
    if (this.names.length >= this.maxNames || !isName(name)) {
      this.dropped++;
      return;
    }
    this.names.push(name);
    this.numbers.push(value);
  }

  /** A text; a long one is no attribute. */
  text(name: string, text: string): void {
    if (!isShort(text, MAX_TEXT_BYTES)) return;
    if (this.texts.length >= this.maxNames || !isName(name)) {
      this.dropped++;
      return;
    }
    this.textNames.push(name);
    this.texts.push(text);
  }

  /** Nothing was found. */
  get isEmpty(): boolean {
    return this.names.length === 0 && this.texts.length === 0;
  }
}

/** The name of `key` in what is named `prefix`; empty: the payload itself. */
export function nested(prefix: string, key: string): string {
  return prefix === "" ? key : `${prefix}.${key}`;
}

function isName(name: string): boolean {
  return name !== "" && isShort(name, MAX_NAME_BYTES) && name.isWellFormed();
}

function isShort(text: string, maxBytes: number): boolean {
  return text.length <= maxBytes && (text.length * 3 <= maxBytes || Buffer.byteLength(text) <= maxBytes);
}
