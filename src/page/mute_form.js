/**
 * The form in which rules are muted: for a while from now on, or in maintenance windows that repeat.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { Rule } from "./shapes.ts" */
import { request } from "./api.js";
import { byId, setText } from "./dom.js";
import { visible } from "./format.js";
import { UNITS_MS } from "./rule_form.js";

/** @param {string} id */
const input = (id) => /** @type {HTMLInputElement} */ (byId(`mute-${id}`));

/** The dialog. */
export class MuteForm {
  #dialog = /** @type {HTMLDialogElement} */ (byId("mute-dialog"));
  #rule = /** @type {HTMLSelectElement} */ (byId("mute-rule"));
  #onSaved;

  /** @param {{ onSaved: (text: string) => void }} options */
  constructor({ onSaved }) {
    this.#onSaved = onSaved;
    byId("mute-cancel").addEventListener("click", () => this.#dialog.close());
    byId("mute-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#save();
    });
  }

  /** @param {readonly Rule[]} rules those that there are */
  open(rules) {
    const all = /** @type {HTMLOptionElement} */ (this.#rule.options[0]);
    this.#rule.replaceChildren(all, ...rules.map(({ id, name }) => new Option(visible(name), id)));
    /** @type {HTMLFormElement} */ (byId("mute-form")).reset();
    setText(byId("mute-error"), "");
    this.#dialog.showModal();
  }

  async #save() {
    const from = input("from").value;
    const body = {
      rule_id: this.#rule.value || null,
      devices: input("devices").value.trim() || "*",
      tag: input("tag").value.trim() || null,
      // By the clock of whoever looks at the page.
      from_ms: from === "" ? null : Date.parse(from),
      for_ms: Math.round(Number(input("length").value) * (UNITS_MS[input("unit").value] ?? 1_000)),
      repeat: input("repeat").value,
      comment: input("comment").value.trim(),
    };
    try {
      await request("/mutes", {
        method: "POST",
        body: JSON.stringify(body),
        headers: { "Content-Type": "application/json" },
      });
      this.#dialog.close();
      this.#onSaved("Mute added.");
    } catch (error) {
      setText(byId("mute-error"), error instanceof Error ? error.message : "");
    }
  }
}
