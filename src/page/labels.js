/**
 * Name, tags and notes of a device, and the dialog that changes them.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { DeviceRow } from "./shapes.ts" */
import { deviceUrl, request } from "./api.js";
import { byId, setText } from "./dom.js";
import { visible } from "./format.js";

/**
 * @typedef {object} Labels
 * @property {string | null} name
 * @property {Readonly<Record<string, string>>} tags
 * @property {string | null} [notes] not in frames of `/live`
 */

/** The line below the title of the device view. */
export class LabelsView {
  #dialog = /** @type {HTMLDialogElement} */ (byId("labels-dialog"));
  #name = /** @type {HTMLInputElement} */ (byId("labels-name"));
  #tags = /** @type {HTMLTextAreaElement} */ (byId("labels-tags"));
  #notes = /** @type {HTMLTextAreaElement} */ (byId("labels-notes"));
  #deviceId = "";
  /** As shown. @type {Labels} */
  #labels = { name: null, tags: {}, notes: null };
  /** As the dialog began. @type {Labels} */
  #before = this.#labels;
  #shown = "";
  #isSaving = false;

  constructor() {
    byId("edit-labels").addEventListener("click", () => this.#edit());
    byId("labels-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#save();
    });
    byId("labels-cancel").addEventListener("click", () => this.#dialog.close());
  }

  /** @param {string | undefined} deviceId another device is shown from now on, or none */
  open(deviceId) {
    if (this.#dialog.open) this.#dialog.close();
    this.#deviceId = deviceId ?? "";
    this.#labels = { name: null, tags: {}, notes: null };
    this.#show();
  }

  /** @param {Partial<DeviceRow> & { notes?: string | null }} device */
  show({ name = null, tags = {}, notes = this.#labels.notes }) {
    this.#labels = { name, tags, notes: notes ?? null };
    this.#show();
  }

  #show() {
    const { name, tags, notes } = this.#labels;
    const text = JSON.stringify([name, tags, notes]);
    if (text === this.#shown) return;
    this.#shown = text;
    setText(byId("device-name"), visible(name ?? ""));
    byId("device-name").hidden = name === null;
    byId("device-tags").replaceChildren(...Object.entries(tags).map(([key, value]) => tagLink(key, value)));
    setText(byId("device-notes"), visible(notes ?? "", "\n\t"));
    byId("device-notes").hidden = !notes;
  }

  #edit() {
    this.#before = this.#labels;
    const { name, tags, notes } = this.#before;
    this.#name.value = name ?? "";
    this.#tags.value = Object.entries(tags).map(([key, value]) => `${key}=${value}`).join("\n");
    this.#notes.value = notes ?? "";
    setText(byId("labels-error"), "");
    this.#dialog.showModal();
  }

  async #save() {
    const deviceId = this.#deviceId;
    if (this.#isSaving) return;
    const change = this.#change();
    if (typeof change === "string") return setText(byId("labels-error"), change);
    this.#isSaving = true;
    setText(byId("labels-error"), "");
    try {
      const labels = await request(deviceUrl(deviceId), {
        method: "PATCH",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(change),
      });
      // The user has left the view meanwhile.
      if (deviceId !== this.#deviceId) return;
      this.show(labels);
      this.#dialog.close();
    } catch (error) {
      if (deviceId !== this.#deviceId) return;
      setText(
        byId("labels-error"),
        `Not saved: ${visible(error instanceof Error ? error.message : String(error))}`,
      );
    } finally {
      this.#isSaving = false;
    }
  }

  /** What the user has changed, so that what others changed meanwhile stays; or why it cannot be saved. */
  #change() {
    const { name, tags, notes } = this.#before;
    /** @type {{ name?: string | null, tags?: Record<string, string | null>, notes?: string | null }} */
    const change = {};
    /** @type {Map<string, string | null>} */
    const wanted = new Map();
    for (const line of this.#tags.value.split("\n")) {
      if (line.trim() === "") continue;
      const at = line.indexOf("=");
      if (at < 0) return `Not saved: found “${visible(line.slice(0, 80))}”; write each tag as key=value.`;
      wanted.set(line.slice(0, at).trim(), line.slice(at + 1).trim());
    }
    for (const key of Object.keys(tags)) if (!wanted.has(key)) wanted.set(key, null);
    const changed = [...wanted].filter(([key, value]) => !Object.hasOwn(tags, key) || tags[key] !== value);
    if (changed.length > 0) change.tags = Object.fromEntries(changed);
    const newName = this.#name.value.trim();
    if (newName !== (name ?? "")) change.name = newName || null;
    if (this.#notes.value !== (notes ?? "")) change.notes = this.#notes.value || null;
    return change;
  }
}

/**
 * @param {string} key
 * @param {string} value
 */
function tagLink(key, value) {
  const link = document.createElement("a");
  link.className = "tag";
  link.href = `/?${new URLSearchParams({ tag: `${key}=${value}` })}`;
  const text = document.createElement("bdi");
  text.textContent = visible(`${key}=${value}`);
  link.append(text);
  return link;
}
