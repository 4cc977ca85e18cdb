/**
 * The latest payload of a device: as text, as JSON, or in hex.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { Payload } from "./shapes.ts" */
import { byId, checkedValue, setText } from "./dom.js";
import { formatBytes, payloadBytes, visible } from "./format.js";

/** More than this is not readable, and slow to lay out. */
const MAX_SHOWN_BYTES = 64 * 1024;

/** The payload, and the choice of its form. */
export class PayloadView {
  /** The latest whole one. @type {Payload | undefined} */
  #payload;
  #isFormChosen = false;

  constructor() {
    byId("payload-form").addEventListener("change", () => {
      this.#isFormChosen = true;
      this.#draw();
    });
  }

  /** Another device is shown. */
  clear() {
    this.#payload = undefined;
    this.#isFormChosen = false;
    // Selected text is not replaced; without this, the previous device's payload would stay.
    setText(byId("payload"), "");
  }

  /** @param {Payload} payload */
  show(payload) {
    this.#payload = payload;
    this.#draw();
  }

  #draw() {
    const payload = this.#payload;
    if (payload === undefined) return;
    const selection = getSelection();
    const output = byId("payload");
    // Text that the user has selected to copy is not replaced.
    if (selection !== null && !selection.isCollapsed && output.contains(selection.anchorNode)) return;

    const json = payload.text === null ? undefined : indentJson(payload.text);
    const best = json !== undefined ? "json" : payload.text !== null ? "text" : "hex";
    for (const input of byId("payload-form").querySelectorAll("input")) {
      input.disabled = input.value === "json" && json === undefined ||
        input.value === "text" && payload.text === null;
      if (!this.#isFormChosen) input.checked = input.value === best;
    }
    const chosen = checkedValue("payload-form");
    const form = chosen === "json" && json === undefined || chosen === "text" && payload.text === null
      ? best
      : chosen;
    const bytes = payloadBytes(payload);
    let shown = form === "hex"
      ? hexDump(bytes.subarray(0, MAX_SHOWN_BYTES), matchMedia("(max-width: 40rem)").matches ? 8 : 16)
      : visible((form === "json" ? json : payload.text) ?? "", "\n\t").slice(0, MAX_SHOWN_BYTES);
    if (bytes.length > MAX_SHOWN_BYTES) shown += `\n… ${formatBytes(bytes.length - MAX_SHOWN_BYTES)} more`;
    setText(output, shown === "" ? "(empty)" : shown);
    output.dataset.form = form;
    setText(byId("payload-size"), formatBytes(payload.bytes));
  }
}

/**
 * @param {Uint8Array} bytes
 * @param {number} perLine
 * @returns {string} lines of offset, bytes, and printable ASCII
 */
function hexDump(bytes, perLine) {
  const lines = [];
  for (let start = 0; start < bytes.length; start += perLine) {
    const line = [...bytes.subarray(start, start + perLine)];
    const hex = line.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const ascii = line.map((byte) => byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·").join("");
    lines.push(`${start.toString(16).padStart(6, "0")}  ${hex.padEnd(perLine * 3 - 1)}  ${ascii}`);
  }
  return lines.join("\n");
}

/**
 * Indents JSON without parsing its numbers, as 12345678901234567890 would be rounded.
 *
 * @param {string} text
 * @returns {string | undefined} undefined if the text is not JSON
 */
function indentJson(text) {
  try {
    JSON.parse(text);
  } catch {
    return undefined;
  }
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
  let depth = 0;
  const newLine = () => `\n${"  ".repeat(depth)}`;
  return tokens.map((token, index) => {
    const before = tokens[index - 1] ?? "";
    if (token === "}" || token === "]") {
      depth--;
      return before === "{" || before === "[" ? token : newLine() + token;
    }
    const opened = before === "{" || before === "[" || before === ",";
    const lead = opened ? newLine() : before === ":" ? " " : "";
    if (token === "{" || token === "[") depth++;
    return lead + token;
  }).join("");
}
