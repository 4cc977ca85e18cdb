/**
 * Requests a token from the user when the api requires one; loaded then.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
import { ApiError, request } from "./api.js";
import { byId, setText } from "./dom.js";
import { forgetToken, storeToken } from "./token.js";

const dialog = /** @type {HTMLDialogElement} */ (byId("sign-in"));
const input = /** @type {HTMLInputElement} */ (byId("token"));
const forget = byId("forget-token");

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

/** Shows the button that removes this tab's token. */
export function offerToForget() {
  forget.hidden = false;
  // A link cannot send a token.
  byId("metrics-link").hidden = true;
}

/**
 * Shows the dialog.
 *
 * @param {string} reason why the token that was sent was refused; empty: none was sent
 */
export function requestToken(reason) {
  setText(byId("sign-in-error"), reason);
  if (!dialog.open) dialog.showModal();
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
