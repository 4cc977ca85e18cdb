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
