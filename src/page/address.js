/**
 * The address bar holds what the page shows, so that reload, back and a copied link show the same.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />

/**
 * State of an entry in the browser's history.
 *
 * @typedef {object} EntryState
 * @property {number} [depth] steps back to the list of devices
 * @property {Record<number, string>} [cursors] by page number of the table: cursor to request it with
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
 * Changes parameters of the address; an empty value removes one, a list has it once for each.
 *
 * @param {Record<string, string | readonly string[]>} changes
 * @param {{ push?: boolean, cursors?: Record<number, string> }} [how] push: add an entry, so that "back" returns here
 */
export function changeAddress(changes, { push = false, cursors } = {}) {
  const query = readAddress();
  for (const [name, value] of Object.entries(changes)) {
    query.delete(name);
    for (const one of [value].flat()) if (one !== "") query.append(name, one);
  }
  const text = query.toString();
  const { depth } = entryState();
  /** @type {EntryState} */
  const state = {};
  if (depth !== undefined) state.depth = push ? depth + 1 : depth;
  if (cursors !== undefined) state.cursors = cursors;
  history[push ? "pushState" : "replaceState"](state, "", text ? `/?${text}` : "/");
}
