/**
 * The token by which this tab's requests are authorized, where the api requires one.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />

const KEY = "tally-token";

/** @type {(reason: string) => void} */
let needed = () => {};

/** @returns {string | undefined} the token of this tab */
export function storedToken() {
  return sessionStorage.getItem(KEY) ?? undefined;
}

/**
 * Keeps a token in this tab, over reloads, until the tab is closed: no other tab and no file has it.
 *
 * @param {string} token
 */
export function storeToken(token) {
  sessionStorage.setItem(KEY, token);
}

/** Removes the token from this tab. */
export function forgetToken() {
  sessionStorage.removeItem(KEY);
}

/** @param {(reason: string) => void} listener called when the api has refused a request for want of a valid token */
export function onTokenNeeded(listener) {
  needed = listener;
}

/**
 * `fetch` with this tab's token, or with another one.
 *
 * @param {string} url
 * @param {RequestInit} [init]
 * @param {string} [token]
 * @returns {Promise<Response>}
 */
export async function authorizedFetch(url, init, token = storedToken()) {
  const headers = new Headers(init?.headers);
  if (token !== undefined) headers.set("Authorization", `Bearer ${token}`);
  const response = await fetch(url, { ...init, headers });
  if (response.status === 401) needed(token === undefined ? "" : "The token is unknown or was revoked.");
  return response;
}
