/**
 * The tags that devices in the table must have: a menu beside the search adds one, and a button for each takes it away.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
import { byId } from "./dom.js";
import { visible } from "./format.js";

/** A tag that the api accepts. */
const TAG = /^[a-z][\w.-]{0,31}(=.{1,64})?$/is;
/** The api's maximum. */
const MAX_TAGS = 20;

const menu = /** @type {HTMLSelectElement} */ (byId("tag"));
const list = byId("chosen-tags");
const first = /** @type {HTMLOptionElement} */ (menu.options[0]);

/** Tags that devices have. @type {readonly string[]} */
let offered = [];
/** @type {readonly string[]} */
let chosen = [];
let onChange = () => {};

menu.addEventListener("change", () => {
  if (menu.value === "") return;
  chooseTags([...chosen, menu.value]);
  onChange();
});
list.addEventListener("click", ({ target }) => {
  const button = /** @type {Element} */ (target).closest("button");
  if (button === null) return;
  const at = [...list.children].indexOf(/** @type {Element} */ (button.parentElement));
  chooseTags(chosen.toSpliced(at, 1));
  // The button that had the focus is gone.
  const next = list.querySelectorAll("button")[Math.min(at, chosen.length - 1)] ?? menu;
  next.focus();
  onChange();
});

/**
 * Has `listener` called when the user adds a tag, or takes one away.
 *
 * @param {() => void} listener
 */
export function whenTagsChange(listener) {
  onChange = listener;
}

/** @returns {readonly string[]} the tags, as `key=value` or `key` */
export function chosenTags() {
  return chosen;
}

/** @param {readonly string[]} tags those that the api would refuse are left out */
export function chooseTags(tags) {
  const wanted = [...new Set(tags)].filter((tag) => TAG.test(tag)).slice(0, MAX_TAGS);
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
  const options = chosen.length === MAX_TAGS ? [] : offered.filter((tag) => !chosen.includes(tag));
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
