/**
 * The form in which a rule is made or changed.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { Rule } from "./shapes.ts" */
import { request } from "./api.js";
import { byId, setText } from "./dom.js";

/** Units of durations in forms. @type {Readonly<Record<string, number>>} */
export const UNITS_MS = { s: 1_000, min: 60_000, h: 3_600_000, d: 86_400_000 };

/** Fields that each kind of condition has. */
const FIELDS = {
  offline: ["after"],
  intervals: ["intervals"],
  value: ["value", "range", "after"],
  rate: ["range", "after"],
  group: ["after"],
  rejected: ["limit", "after"],
};

/** @param {string} id */
const input = (id) => /** @type {HTMLInputElement} */ (byId(`rule-${id}`));

/** A number, or undefined where the field is empty. @param {string} id */
const number = (id) => input(id).value.trim() === "" ? undefined : Number(input(id).value);

/** The dialog. */
export class RuleForm {
  /** Names of the channels that are configured. @type {readonly string[]} */
  channels = [];
  #dialog = /** @type {HTMLDialogElement} */ (byId("rule-dialog"));
  #onSaved;
  /** The rule that is changed. @type {Rule | undefined} */
  #rule;

  /** @param {{ onSaved: (text: string) => void }} options */
  constructor({ onSaved }) {
    this.#onSaved = onSaved;
    byId("rule-kind").addEventListener("change", () => this.#showFields());
    byId("rule-cancel").addEventListener("click", () => this.#dialog.close());
    byId("rule-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#save();
    });
  }

  /** @param {Rule | undefined} rule the one to change; undefined: a new one */
  open(rule) {
    this.#rule = rule;
    setText(byId("rule-title"), rule === undefined ? "New rule" : "Change the rule");
    setText(byId("rule-error"), "");
    input("name").value = rule?.name ?? "";
    input("devices").value = rule?.devices ?? "*";
    input("tag").value = rule?.tag ?? "";
    input("severity").value = rule?.severity ?? "warning";
    input("enabled").checked = rule?.enabled ?? true;
    this.#showCondition(rule?.condition ?? { kind: "offline", after_ms: 300_000 });
    this.#showChannels(rule);
    this.#showFields();
    this.#dialog.showModal();
    input("name").focus();
  }

  /** @param {Rule["condition"]} condition */
  #showCondition(condition) {
    const { above, below, hysteresis, intervals, value } = /** @type {Record<string, any>} */ (condition);
    input("kind").value = intervals === undefined ? condition.kind : "intervals";
    input("value").value = value ?? "";
    input("above").value = String(above ?? "");
    input("below").value = String(below ?? "");
    input("limit").value = String(condition.kind === "rejected" ? above : 0);
    input("hysteresis").value = String(hysteresis ?? 0);
    input("intervals").value = String(intervals ?? 3);
    const ms = "after_ms" in condition
      ? condition.after_ms ?? 0
      : "for_ms" in condition
      ? condition.for_ms
      : 0;
    const [unit, unitMs] =
      Object.entries(UNITS_MS).findLast(([, unitMs]) => ms >= unitMs && ms % unitMs === 0) ??
        ["s", 1_000];
    input("after").value = String(ms / unitMs);
    input("unit").value = unit;
  }

  /** @param {Rule | undefined} rule */
  #showChannels(rule) {
    byId("rule-channels").replaceChildren(...this.channels.map((name) => {
      const label = document.createElement("label");
      label.className = "check";
      const box = document.createElement("input");
      box.type = "checkbox";
      box.value = name;
      box.checked = rule?.channels?.some((channel) => channel === name) ?? true;
      label.append(box, ` Send to ${name}`);
      return label;
    }));
  }

  #showFields() {
    const fields = FIELDS[/** @type {keyof typeof FIELDS} */ (input("kind").value)];
    for (const element of this.#dialog.querySelectorAll("[data-field]")) {
      const isShown = fields.includes(element.getAttribute("data-field") ?? "");
      /** @type {HTMLElement} */ (element).hidden = !isShown;
    }
  }

  #condition() {
    const kind = input("kind").value;
    const ms = Math.round((number("after") ?? 0) * (UNITS_MS[input("unit").value] ?? 1_000));
    const [above, below] = [number("above"), number("below")];
    const range = {
      ...above === undefined ? {} : { above },
      ...below === undefined ? {} : { below },
      ...{ hysteresis: number("hysteresis") ?? 0, for_ms: ms },
    };
    switch (kind) {
      case "intervals":
        return { kind: "offline", intervals: number("intervals") };
      case "value":
        return { kind, value: input("value").value.trim(), ...range };
      case "rate":
        return { kind, ...range };
      case "rejected":
        return { kind, above: number("limit") ?? 0, for_ms: ms };
      default:
        return { kind, after_ms: ms };
    }
  }

  async #save() {
    const boxes = [...byId("rule-channels").querySelectorAll("input")];
    const rule = this.#rule;
    const body = {
      ...rule === undefined ? {} : { version: rule.version },
      name: input("name").value.trim(),
      enabled: input("enabled").checked,
      severity: input("severity").value,
      devices: input("devices").value.trim() || "*",
      tag: input("tag").value.trim() || null,
      // All of them: those too that are configured later.
      channels: boxes.every(({ checked }) => checked)
        ? null
        : boxes.filter(({ checked }) => checked).map(({ value }) => value),
      condition: this.#condition(),
    };
    try {
      await request(rule === undefined ? "/rules" : `/rules/${rule.id}`, {
        method: rule === undefined ? "POST" : "PUT",
        body: JSON.stringify(body),
        headers: { "Content-Type": "application/json" },
      });
      this.#dialog.close();
      this.#onSaved(rule === undefined ? "Rule added." : "Rule changed.");
    } catch (error) {
      setText(byId("rule-error"), error instanceof Error ? error.message : "");
    }
  }
}
