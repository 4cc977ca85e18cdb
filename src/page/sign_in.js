/**
 * Requests a token from the user when the api requires one.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
import { ApiError, request } from "./api.js";
import { byId, setText } from "./dom.js";
import { forgetToken, onTokenNeeded, storedToken, storeToken } from "./token.js";

const dialog = /** @type {HTMLDialogElement} */ (byId("sign-in"));
const input = /** @type {HTMLInputElement} */ (byId("token"));
const forget = byId("forget-token");

/** Shows the dialog when a request needs a token, and the button that removes one. */
export function serveSignIn() {
  const isKnown = storedToken() !== undefined;
  forget.hidden = !isKnown;
  // A link cannot send a token.
  byId("metrics-link").hidden = isKnown;
  onTokenNeeded((reason) => {
    setText(byId("sign-in-error"), reason);
    if (!dialog.open) dialog.showModal();
  });
  forget.addEventListener("click", () => {
    forgetToken();
    location.reload();
  });
  // Without a token there is nothing to return to.
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  byId("sign-in-form").addEventListener("submit", (event) => {
    event.preventDefault();
    signIn(input.value.trim());
  });
}

/**
 * Loads the page anew with the token if the api accepts it.
 *
 * @param {string} token
 */
async function signIn(token) {
  setText(byId("sign-in-error"), "");
  try {
    await request("/fleet", {}, token);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    // The text of a 401 is for programs.
    if (error.status !== 401) setText(byId("sign-in-error"), error.message);
    input.select();
    // With the store down the token was accepted all the same.
    if (error.status !== 503) return;
  }
  storeToken(token);
  location.reload();
}
