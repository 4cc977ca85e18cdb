/**
 * Buttons that copy: what a `data-copy` attribute holds.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
import { byId, setText } from "./dom.js";

const SHOWN_MS = 2_000;
// Pasted into a terminal, a line break would run what is before it.
// deno-lint-ignore no-control-regex
const controls = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/;

/** Serves all such buttons, those to come too. */
export function serveCopyButtons() {
  document.addEventListener("click", async ({ target, detail }) => {
    const button = target instanceof Element ? target.closest("button") : null;
    const text = button?.dataset.copy;
    if (button === null || text === undefined) return;
    const isEscaped = controls.test(text);
    const isCopied = await copy(isEscaped ? escaped(text) : text);
    const result = !isCopied
      ? "Not copied: the browser refused"
      : isEscaped
      ? "Copied as a JSON string"
      : "Copied";
    setText(byId("announcement"), result);
    // Clicked with a pointer, it must not hold the focus, and with it the rows around it.
    if (detail > 0) button.blur();
    button.dataset.copied = String(isCopied);
    if (button.children.length === 0) setText(button, isCopied ? "Copied" : "Not copied");
    setTimeout(() => {
      delete button.dataset.copied;
      if (button.children.length === 0) setText(button, "Copy");
    }, SHOWN_MS);
  });
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
  // Only pages from https or this very machine have this one.
  if (navigator.clipboard !== undefined) {
    return await navigator.clipboard.writeText(text).then(() => true, () => false);
  }
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "unseen";
  // A modal dialog takes the focus from all that is outside of it.
  (document.querySelector("dialog[open]") ?? document.body).append(field);
  const before = document.activeElement;
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  if (before instanceof HTMLElement) before.focus({ preventScroll: true });
  return isCopied;
}
