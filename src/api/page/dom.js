/**
 * What the page does with its document again and again.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />

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

/** A pointer that rested for so long is forgotten, or lists below it would never move on. */
const POINTED_MS = 5_000;

/**
 * Tells whether someone points at an element or is in it by keyboard: what is there is not moved away then.
 *
 * @param {Element} element
 * @returns {() => boolean}
 */
export function watchUse(element) {
  let pointedAtMs = -Infinity;
  element.addEventListener("pointermove", () => pointedAtMs = performance.now());
  element.addEventListener("pointerleave", () => pointedAtMs = -Infinity);
  return () => performance.now() - pointedAtMs < POINTED_MS || element.contains(document.activeElement);
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
