/**
 * Copies texts to the clipboard.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
import { byId, setText } from "./dom.js";

const COPIED_SHOWN_MS = 2_000;
// Pasted into a terminal, a line break would execute the text before it.
// deno-lint-ignore no-control-regex
const controls = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/;

/**
 * Copies what a button has as `data-copy`, and shows for a moment whether it did.
 *
 * @param {HTMLButtonElement} button
 */
export async function copyOf(button) {
  const text = button.dataset.copy ?? "";
  const label = button.dataset.label ??= button.textContent ?? "";
  const isEscaped = controls.test(text);
  const isCopied = await copy(isEscaped ? escaped(text) : text);
  const result = !isCopied
    ? "Not copied: the browser refused"
    : isEscaped
    ? "Copied as a JSON string"
    : "Copied";
  setText(byId("announcement"), result);
  button.dataset.copied = String(isCopied);
  if (button.children.length === 0) setText(button, isCopied ? "Copied" : "Not copied");
  setTimeout(() => {
    delete button.dataset.copied;
    setText(byId("announcement"), "");
    if (button.children.length === 0) setText(button, label);
  }, COPIED_SHOWN_MS);
}

/** @param {string} text */
function escaped(text) {
  return JSON.stringify(text).replace(
    /[\u007f-\u009f\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/**
 * @param {string} text
 * @returns {Promise<boolean>} whether it is in the clipboard
 */
async function copy(text) {
  // Browsers offer this to pages from https or localhost only.
  if (navigator.clipboard !== undefined) {
    return await navigator.clipboard.writeText(text).then(() => true, () => false);
  }
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "unseen";
  // A modal dialog lets only its own content have the focus.
  (document.querySelector("dialog[open]") ?? document.body).append(field);
  const before = document.activeElement;
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  if (before instanceof HTMLElement) before.focus({ preventScroll: true });
  return isCopied;
}
