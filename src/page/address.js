/**
 * The address bar: what is shown is in it, so that reload, back and a copied link show the same.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />

/**
 * What the browser keeps with an entry of its history.
 *
 * @typedef {object} EntryState
 * @property {number} [depth] steps back to the list of devices
 * @property {Record<number, string>} [cursors] of the pages of the table, by page number
 */

/** @returns {EntryState} */
export function entryState() {
  return history.state ?? {};
}

/** @returns {URLSearchParams} */
export function readAddress() {
  return new URLSearchParams(location.search);
}

/**
 * Changes parameters of the address; an empty value removes one.
 *
 * @param {Record<string, string>} changes
 * @param {{ push?: boolean, cursors?: Record<number, string> }} [how] push: "back" returns to what was before
 */
export function changeAddress(changes, { push = false, cursors } = {}) {
  const query = readAddress();
  for (const [name, value] of Object.entries(changes)) {
    if (value === "") query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString();
  const { depth } = entryState();
  /** @type {EntryState} */
  const state = {};
  if (depth !== undefined) state.depth = push ? depth + 1 : depth;
  if (cursors !== undefined) state.cursors = cursors;
  history[push ? "pushState" : "replaceState"](state, "", text ? `/?${text}` : "/");
}
