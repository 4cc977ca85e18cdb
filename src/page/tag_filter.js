/**
 * The tags that devices in the table must have: a menu beside the search adds one, and a button for each takes it away.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
import { byId } from "./dom.js";
import { visible } from "./format.js";

/** The api's maximum. */
const MAX_TAGS = 20;

const menu = /** @type {HTMLSelectElement} */ (byId("tag"));
const list = byId("chosen-tags");
const first = /** @type {HTMLOptionElement} */ (menu.options[0]);

/** Tags that devices have. @type {readonly string[]} */
let offered = [];
/** @type {readonly string[]} */
let chosen = [];

menu.addEventListener("change", () => {
  if (menu.value === "") return;
  chooseTags([...chosen, menu.value]);
  report();
});
list.addEventListener("click", ({ target }) => {
  const button = /** @type {Element} */ (target).closest("button");
  if (button === null) return;
  const at = [...list.children].indexOf(/** @type {Element} */ (button.parentElement));
  chooseTags(chosen.toSpliced(at, 1));
  // The button that had the focus is gone.
  const next = list.querySelectorAll("button")[Math.min(at, chosen.length - 1)] ?? menu;
  next.focus();
  report();
});

/** The user has added a tag, or taken one away. */
function report() {
  byId("filters").dispatchEvent(new CustomEvent("tags", { detail: chosen }));
}

/** @param {readonly string[]} tags as `key=value` or `key` */
export function chooseTags(tags) {
  const wanted = [...new Set(tags)];
  if (wanted.join("\n") === chosen.join("\n")) {
    menu.value = "";
    return;
  }
  chosen = wanted;
  list.replaceChildren(...chosen.map(chip));
  list.hidden = chosen.length === 0;
  first.textContent = chosen.length === 0 ? "Any tag" : "Another tag";
  showMenu();
}

/**
 * Offers these tags in the menu.
 *
 * @param {readonly string[]} tags
 */
export function offerTags(tags) {
  offered = tags;
  // While the menu is open a change would close it.
  if (document.activeElement !== menu) showMenu();
}

function showMenu() {
  const options = chosen.length >= MAX_TAGS ? [] : offered.filter((tag) => !chosen.includes(tag));
  menu.hidden = options.length === 0;
  const before = [...menu.options].slice(1).map(({ value }) => value);
  if (options.join("\n") !== before.join("\n")) {
    menu.replaceChildren(first, ...options.map((tag) => new Option(visible(tag), tag)));
  }
  menu.value = "";
}

/** @param {string} tag */
function chip(tag) {
  const item = document.createElement("li"), button = document.createElement("button");
  button.type = "button";
  button.className = "tag";
  button.textContent = visible(tag);
  button.setAttribute("aria-label", `Without the tag ${visible(tag)}`);
  item.append(button);
  return item;
}
