/**
 * DOM helpers that several views share.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
import { deviceLink } from "./api.js";
import { visible } from "./format.js";

/**
 * @param {string} id of an element of index.html
 * @returns {HTMLElement}
 */
export function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/**
 * Writes to the document only when the text changed: most frames leave most figures as they are.
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
 * Fills in a device's id: its link, and the button that copies the id.
 *
 * @param {Element} element
 * @param {string} deviceId
 */
export function fillId(element, deviceId) {
  const shown = visible(deviceId);
  const link = element.querySelector("a");
  if (link !== null) {
    link.href = deviceLink(deviceId);
    link.title = shown;
    setText(/** @type {Element} */ (link.firstElementChild), shown);
  }
  const button = /** @type {HTMLElement | null} */ (element.querySelector(".copy"));
  if (button === null) return;
  button.dataset.copy = deviceId;
  button.setAttribute("aria-label", `Copy ${shown}`);
}

/**
 * Tracks whether an element is in use: under the pointer, with the focus, or with selected text. Content in use is not
 * moved.
 *
 * @param {Element} element
 * @param {() => void} onFree called when the use ends
 * @returns {() => boolean} whether it is in use now
 */
export function watchUse(element, onFree) {
  // Touch has no pointer that stays: a tap is not use.
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
  // During this event no element has the focus yet.
  element.addEventListener("focusout", () => setTimeout(ended));
  return isUsed;
}

/**
 * @param {Element} element
 * @returns {boolean} whether text in it is selected
 */
export function hasSelection(element) {
  const selection = getSelection();
  return selection !== null && !selection.isCollapsed && selection.containsNode(element, true);
}

/** A second click within this time selects a word. */
const DOUBLE_CLICK_MS = 250;

/**
 * A click on a row follows the row's link, while its text can still be selected.
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
    // A row for several devices has no single target.
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
 * @param {string} value of the one to check; without a match, the first is checked
 */
export function check(fieldset, value) {
  const inputs = [...byId(fieldset).querySelectorAll("input")];
  const wanted = inputs.find((input) => input.value === value) ?? inputs[0];
  if (wanted !== undefined) wanted.checked = true;
}

/**
 * Sets the figure of a tile; one longer than a million is shown in a smaller font, so that it fits.
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
