/**
 * The address bar holds what the page shows, so that reload, back and a copied link show the same.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />

/** More do not fit beside the other columns. */
const MAX_COLUMNS = 8;
/** The api's maximum. */
const MAX_NAME = 64;

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

/**
 * Names of values that have a column in the table. As the api reads them: in a name, a comma or a backslash has a
 * backslash before it.
 *
 * @param {string} text of the address
 */
export function readColumns(text) {
  const names = (text.match(/(?:\\[\\,]|[^,])+/g) ?? []).map((name) => name.replace(/\\([\\,])/g, "$1"));
  return [...new Set(names)].filter((name) => name.length <= MAX_NAME).slice(0, MAX_COLUMNS);
}

/** @param {readonly string[]} names */
export function columnsText(names) {
  return names.map((name) => name.replace(/[\\,]/g, "\\$&")).join();
}
