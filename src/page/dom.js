/**
 * What the page does with its document again and again.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
import { devicePage } from "./api.js";
import { visible } from "./format.js";

/**
 * @param {string} id of an element that is in index.html
 * @returns {HTMLElement}
 */
export function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/**
 * Touches the document only when there is something new: most frames leave most figures as they are.
 *
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * @param {string} id of a template
 * @returns {HTMLElement} a copy of its element
 */
export function fromTemplate(id) {
  const template = /** @type {HTMLTemplateElement} */ (byId(id));
  return /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
}

/**
 * Names a device in what has a link and a button to copy with.
 *
 * @param {Element} element
 * @param {string} deviceId
 */
export function fillId(element, deviceId) {
  const shown = visible(deviceId);
  const link = element.querySelector("a");
  if (link !== null) {
    link.href = devicePage(deviceId);
    link.title = shown;
    setText(/** @type {Element} */ (link.firstElementChild), shown);
  }
  const button = /** @type {HTMLElement | null} */ (element.querySelector(".copy"));
  if (button === null) return;
  button.dataset.copy = deviceId;
  button.setAttribute("aria-label", `Copy ${shown}`);
}

/**
 * Tells whether someone points at an element, is in it by keyboard, or has marked text in it: what is there is
 * not moved away then.
 *
 * @param {Element} element
 * @param {() => void} onFree called when that ends
 * @returns {() => boolean}
 */
export function watchUse(element, onFree) {
  // A finger leaves no sign of where it was last.
  let isPointed = false;
  element.addEventListener("pointerenter", (event) => {
    isPointed = /** @type {PointerEvent} */ (event).pointerType !== "touch";
  });
  const isUsed = () =>
    isPointed && element.matches(":hover") || element.contains(document.activeElement) ||
    hasSelection(element);
  const ended = () => void (isUsed() || onFree());
  element.addEventListener("pointerleave", () => {
    isPointed = false;
    ended();
  });
  // The focus is nowhere during this event.
  element.addEventListener("focusout", () => setTimeout(ended));
  return isUsed;
}

/**
 * @param {Element} element
 * @returns {boolean} whether text in it is marked
 */
export function hasSelection(element) {
  const selection = getSelection();
  return selection !== null && !selection.isCollapsed && selection.containsNode(element, true);
}

/** A second click within this time marks a word. */
const DOUBLE_CLICK_MS = 250;

/**
 * Makes whole rows lead where their link does, while their text can be marked.
 *
 * @param {Element} container
 * @param {string} rows selector
 */
export function openOnClick(container, rows) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let opening;
  container.addEventListener("click", (event) => {
    clearTimeout(opening);
    const { target, detail, ctrlKey, metaKey, shiftKey, altKey } = /** @type {MouseEvent} */ (event);
    const isPlain = detail < 2 && !ctrlKey && !metaKey && !shiftKey && !altKey;
    if (!(target instanceof Element) || !isPlain || target.closest("a, button, summary") !== null) return;
    const row = target.closest(rows);
    // A row of many devices leads to none of them.
    const link = row?.querySelector("details") ? null : row?.querySelector("a");
    if (!row || !link) return;
    opening = setTimeout(() => {
      if (link.isConnected && !hasSelection(row)) link.click();
    }, DOUBLE_CLICK_MS);
  });
}

/**
 * @param {string} fieldset id of radio buttons
 * @returns {string} the value of the one that is checked
 */
export function checkedValue(fieldset) {
  const checked = byId(fieldset).querySelector("input:checked");
  return /** @type {HTMLInputElement | null} */ (checked)?.value ?? "";
}

/**
 * @param {string} fieldset id of radio buttons
 * @param {string} value of the one to check; the first one where there is no such
 */
export function check(fieldset, value) {
  const inputs = [...byId(fieldset).querySelectorAll("input")];
  const wanted = inputs.find((input) => input.value === value) ?? inputs[0];
  if (wanted !== undefined) wanted.checked = true;
}

/**
 * A figure of a tile: what is longer than a million is written smaller, so that every tile holds its own.
 *
 * @param {Element} element
 * @param {string} text
 */
export function setFigure(element, text) {
  setText(element, text);
  element.toggleAttribute("data-long", text.length > "1,234,567".length);
}

/**
 * @param {Element} element
 * @param {"online" | "offline"} status
 */
export function setStatus(element, status) {
  setText(element, status === "online" ? "Online" : "Offline");
  element.setAttribute("data-status", status);
}

const COPIED_SHOWN_MS = 2_000;
// Pasted into a terminal, a line break would run what is before it.
// deno-lint-ignore no-control-regex
const controls = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/;

/** Serves buttons that copy what their `data-copy` holds, those to come too. */
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
      setText(byId("announcement"), "");
      if (button.children.length === 0) setText(button, "Copy");
    }, COPIED_SHOWN_MS);
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
