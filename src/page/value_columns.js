/**
 * Columns of values in the table of devices, and the choice of them.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { DeviceRow, ValueNames } from "./shapes.ts" */
import { request } from "./api.js";
import { byId, setText } from "./dom.js";
import { formatCount, UNKNOWN, visible } from "./format.js";
import { formatValue, unitOf } from "./units.js";

/** One column for each chosen value, before the column of times. */
export class ValueColumns {
  #table;
  #onChoose;
  /** @type {readonly string[]} */
  #names = [];

  /**
   * @param {HTMLElement} table
   * @param {(names: readonly string[]) => void} onChoose called when the user has chosen others
   */
  constructor(table, onChoose) {
    this.#table = table;
    this.#onChoose = onChoose;
    const choice = /** @type {HTMLDetailsElement} */ (byId("columns"));
    choice.addEventListener("change", () => this.#chosen());
    byId("copy-view").addEventListener("click", () => byId("copy-view").dataset.copy = location.href);
    choice.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      choice.open = false;
      choice.querySelector("summary")?.focus();
    });
    document.addEventListener("click", ({ target }) => {
      if (target instanceof Node && !choice.contains(target)) choice.open = false;
    });
  }

  /** @param {readonly string[]} names of the values that have a column from now on */
  set(names) {
    if (names.join("\n") === this.#names.join("\n")) return;
    this.#names = names;
    for (const cell of this.#table.querySelectorAll(".col-value")) cell.remove();
    const next = /** @type {Element} */ (this.#table.querySelector("thead .col-seen"));
    for (const name of names) {
      const header = document.createElement("th");
      header.className = "col-value";
      header.scope = "col";
      header.dataset.sort = `value:${name}`;
      const button = document.createElement("button");
      button.type = "button";
      button.title = visible(name);
      const label = document.createElement("span");
      label.textContent = visible(name);
      button.append(label);
      header.append(button);
      next.before(header);
    }
    this.#table.dataset.values = String(names.length);
    this.#table.style.setProperty("--values", String(names.length));
  }

  /**
   * @param {Element} row
   * @param {DeviceRow} device
   */
  fill(row, { values, tags }) {
    let cells = row.querySelectorAll(".col-value");
    if (cells.length !== this.#names.length) {
      for (const cell of cells) cell.remove();
      const added = this.#names.map(() => document.createElement("td"));
      for (const cell of added) {
        cell.className = "col-value";
        cell.textContent = UNKNOWN;
      }
      row.querySelector(".col-seen")?.before(...added);
      cells = row.querySelectorAll(".col-value");
    }
    if (values === undefined) return;
    this.#names.forEach((name, i) => {
      const value = valueOf(values, name);
      const text = value === undefined ? UNKNOWN : formatValue(value, visible(unitOf(name, tags)));
      setText(/** @type {Element} */ (cells[i]), text);
    });
  }

  /**
   * Shows the names that there are, to choose from.
   *
   * @param {readonly string[]} chosen
   */
  async openChoice(chosen) {
    /** @type {ValueNames | undefined} */
    const response = await request("/values").catch(() => undefined);
    const names = response?.names ?? [];
    const absent = chosen.filter((name) => !names.some((one) => one.name === name));
    const all = [...absent.map((name) => ({ name, devices: 0 })), ...names];
    byId("no-columns").hidden = all.length > 0;
    byId("column-names").replaceChildren(...all.map(({ name, devices }) => {
      const label = document.createElement("label");
      const box = document.createElement("input");
      box.type = "checkbox";
      box.value = name;
      box.checked = chosen.includes(name);
      const text = document.createElement("bdi");
      text.textContent = visible(name);
      const count = document.createElement("span");
      count.className = "muted";
      count.textContent = formatCount(devices);
      label.append(box, text, count);
      return label;
    }));
  }

  #chosen() {
    const boxes = [...byId("column-names").querySelectorAll("input")];
    const checked = boxes.filter((box) => box.checked).map((box) => box.value);
    // Those that stay keep their places.
    const kept = this.#names.filter((name) => checked.includes(name));
    this.#onChoose([...kept, ...checked.filter((name) => !kept.includes(name))]);
  }
}

/**
 * @param {NonNullable<DeviceRow["values"]>} values by name in lists, else as an array
 * @param {string} name
 * @returns {number | undefined}
 */
function valueOf(values, name) {
  if (Array.isArray(values)) return values.find((one) => one.name === name)?.value;
  const byName = /** @type {Readonly<Record<string, number>>} */ (values);
  return Object.hasOwn(byName, name) ? byName[name] : undefined;
}
