/**
 * The view of incidents, and of the rules that find them.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { Incident, Rule } from "./shapes.ts" */
import { changeAddress, readAddress } from "./address.js";
import { request } from "./api.js";
import { byId, check, checkedValue, fromTemplate, setText } from "./dom.js";
import { formatCount, formatDate, formatDuration, formatMoment, visible } from "./format.js";
import { fillIncident } from "./incident_line.js";
import { MuteForm } from "./mute_form.js";
import { showOpenIncidents } from "./open_incidents.js";
import { RuleForm } from "./rule_form.js";

/** How often the lists are read while they are shown. */
const REFRESH_MS = 2_000;

/** Incidents shown. */
const INCIDENTS_SHOWN = 50;

/** How long a click mutes a rule. */
const MUTE_MS = 3_600_000;

/** The view at `/?view=alerts`. */
export class AlertsView {
  #serverNow;
  #form = new RuleForm({ onSaved: (text) => this.#done(text) });
  #muteForm = new MuteForm({ onSaved: (text) => this.#done(text) });
  #isOpen = false;
  #readAtMs = -Infinity;
  /** @type {Map<number, HTMLElement>} */
  #incidents = new Map();
  /** @type {readonly Rule[]} */
  #rules = [];

  /** @param {{ serverNow: () => number }} options */
  constructor({ serverNow }) {
    this.#serverNow = serverNow;
    byId("incident-state").addEventListener("change", () => {
      changeAddress({ state: checkedValue("incident-state") });
      this.#load();
    });
    byId("add-rule").addEventListener("click", () => this.#form.open(undefined));
    byId("add-mute").addEventListener("click", () => this.#muteForm.open(this.#rules));
    byId("export-rules").addEventListener("click", () => this.#export());
    const file = /** @type {HTMLInputElement} */ (byId("import-file"));
    byId("import-rules").addEventListener("click", () => file.click());
    file.addEventListener("change", () => this.#import(file));
  }

  /** @param {boolean} isOpen whether the view is shown from now on */
  open(isOpen) {
    this.#isOpen = isOpen;
    if (!isOpen) return;
    check("incident-state", readAddress().get("state") ?? "");
    this.#load();
  }

  /** Reads the lists again if that is due; called every second. */
  tick() {
    if (this.#isOpen && performance.now() - this.#readAtMs >= REFRESH_MS) this.#load();
  }

  async #load() {
    this.#readAtMs = performance.now();
    const state = checkedValue("incident-state");
    try {
      const [incidents, rules, mutes] = await Promise.all([
        request(`/incidents?limit=${INCIDENTS_SHOWN}${state === "" ? "" : `&state=${state}`}`),
        request("/rules"),
        request("/mutes"),
      ]);
      if (state !== checkedValue("incident-state")) return;
      this.#showIncidents(incidents);
      this.#showRules(rules.rules);
      this.#showMutes(mutes.mutes);
      this.#showChannels(rules.channels);
      setText(byId("alerts-error"), "");
    } catch (error) {
      // The notice of the page has an outage.
      if (error instanceof Error && !("status" in error)) throw error;
    }
  }

  /** @param {{ incidents: readonly Incident[], firing: number, next: number | null }} list */
  #showIncidents({ incidents, firing, next }) {
    const before = this.#incidents;
    const chosen = Number(readAddress().get("incident"));
    this.#incidents = new Map(incidents.map((incident) => {
      const line = before.get(incident.id) ?? this.#newIncident(incident.id);
      fillIncident(line, incident, this.#serverNow());
      line.dataset.chosen = String(incident.id === chosen);
      return [incident.id, line];
    }));
    const lines = [...this.#incidents.values()];
    const list = byId("incidents");
    const isSame = lines.length === list.children.length &&
      lines.every((line, i) => line === list.children[i]);
    if (!isSame) list.replaceChildren(...lines);
    showOpenIncidents(firing);
    byId("no-incidents").hidden = lines.length > 0;
    const more = next === null ? "" : `; the newest ${INCIDENTS_SHOWN} are shown`;
    setText(byId("incidents-position"), lines.length === 0 ? "" : `${formatCount(firing)} open${more}`);
  }

  /** @param {number} id */
  #newIncident(id) {
    const line = fromTemplate("incident");
    const button = /** @type {HTMLButtonElement} */ (line.querySelector("button"));
    button.addEventListener(
      "click",
      () => this.#change(`/incidents/${id}/acknowledge`, "POST", { note: "" }, "Acknowledged."),
    );
    return line;
  }

  /** @param {readonly Rule[]} rules */
  #showRules(rules) {
    byId("no-rules").hidden = rules.length > 0;
    byId("export-rules").hidden = rules.length === 0;
    const shown = JSON.stringify(rules);
    if (shown === JSON.stringify(this.#rules)) return;
    this.#rules = rules;
    // One that is in use keeps the focus.
    const focused = document.activeElement?.id;
    byId("rules").replaceChildren(...rules.map((rule) => this.#ruleLine(rule)));
    if (focused) document.getElementById(focused)?.focus();
  }

  /** @param {Rule} rule */
  #ruleLine(rule) {
    const line = fromTemplate("rule");
    line.dataset.level = rule.enabled ? rule.severity : "";
    setText(/** @type {Element} */ (line.querySelector("b")), visible(rule.name));
    const found = [
      ...rule.enabled ? [] : ["off"],
      ...rule.firing > 0 ? [`${formatCount(rule.firing)} open`] : [],
      ...rule.pending > 0 ? [`${formatCount(rule.pending)} pending`] : [],
    ];
    const summary = [visible(rule.summary), ...found].join(" · ");
    setText(/** @type {Element} */ (line.querySelector(".more")), summary);
    const [edit, mute, remove] = line.querySelectorAll("button");
    for (const [i, button] of [edit, mute, remove].entries()) {
      if (button !== undefined) button.id = `rule-${i}-${rule.id}`;
    }
    edit?.addEventListener("click", () => this.#form.open(rule));
    mute?.addEventListener("click", () =>
      this.#change("/mutes", "POST", {
        ...{ rule_id: rule.id, devices: "*", tag: null, comment: "", repeat: "none" },
        ...{ from_ms: null, for_ms: MUTE_MS },
      }, "Muted for an hour."));
    remove?.addEventListener("click", () => {
      if (confirm(`Delete the rule “${visible(rule.name)}”? Its open incidents end.`)) {
        this.#change(`/rules/${rule.id}`, "DELETE", undefined, "Rule deleted.");
      }
    });
    return line;
  }

  /** @param {readonly { id: string, rule_id: string | null, devices: string, tag: string | null, until_ms: number, from_ms: number, repeat: string, active: boolean, comment: string }[]} mutes */
  #showMutes(mutes) {
    byId("no-mutes").hidden = mutes.length > 0;
    const now = this.#serverNow();
    const texts = mutes.map(({ rule_id, devices, tag, from_ms, until_ms, repeat, active, comment }) => {
      const rule = this.#rules.find(({ id }) => id === rule_id)?.name;
      const of = rule_id === null ? "All rules" : visible(rule ?? rule_id);
      const which = [
        devices === "*" ? "all devices" : visible(devices),
        ...tag === null ? [] : [visible(tag)],
      ];
      const when = repeat === "none"
        ? active ? `until ${formatMoment(until_ms, now)}` : `from ${formatDate(from_ms)}`
        : `${repeat}, ${formatDuration(until_ms - from_ms)} from ${formatDate(from_ms)}`;
      return `${of}, ${which.join(", ")}: ${when}${comment === "" ? "" : ` · ${visible(comment)}`}`;
    });
    const list = byId("mutes");
    if (list.dataset.shown === JSON.stringify(texts)) return;
    list.dataset.shown = JSON.stringify(texts);
    list.replaceChildren(...mutes.map(({ id }, i) => {
      const line = fromTemplate("mute");
      setText(/** @type {Element} */ (line.querySelector("span")), texts[i] ?? "");
      line.querySelector("button")?.addEventListener(
        "click",
        () => this.#change(`/mutes/${id}`, "DELETE", undefined, "Mute removed."),
      );
      return line;
    }));
  }

  /** @param {readonly string[]} channels */
  #showChannels(channels) {
    this.#form.channels = channels;
    byId("no-channels").hidden = channels.length > 0;
    const list = byId("channels");
    if (list.dataset.shown === channels.join()) return;
    list.dataset.shown = channels.join();
    list.replaceChildren(...channels.map((name) => {
      const line = fromTemplate("channel");
      setText(/** @type {Element} */ (line.querySelector("b")), name);
      line.querySelector("button")?.addEventListener("click", () => this.#test(name));
      return line;
    }));
  }

  /** @param {string} channel */
  async #test(channel) {
    setText(byId("alerts-error"), "");
    try {
      const { accepted, reason } = await request(`/channels/${channel}/test`, { method: "POST" });
      if (accepted) setText(byId("announcement"), `${channel} has accepted a test message.`);
      setText(
        byId("channel-result"),
        accepted ? `${channel} accepted it.` : `${channel} refused it: ${reason}`,
      );
    } catch (error) {
      setText(byId("channel-result"), error instanceof Error ? error.message : "");
    }
  }

  /**
   * @param {string} url
   * @param {string} method
   * @param {unknown} body
   * @param {string} done
   */
  async #change(url, method, body, done) {
    try {
      await request(
        url,
        body === undefined
          ? { method }
          : { method, body: JSON.stringify(body), headers: { "Content-Type": "application/json" } },
      );
      this.#done(done);
    } catch (error) {
      setText(byId("alerts-error"), error instanceof Error ? error.message : "");
    }
  }

  /** @param {string} text */
  #done(text) {
    setText(byId("announcement"), text);
    this.#load();
  }

  #export() {
    const rules = this.#rules.map(({ firing: _firing, pending: _pending, summary: _summary, ...rule }) =>
      rule
    );
    const blob = new Blob([JSON.stringify({ rules }, null, 2)], { type: "application/json" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = "tally-rules.json";
    link.click();
    URL.revokeObjectURL(link.href);
  }

  /** @param {HTMLInputElement} input */
  async #import(input) {
    const [file] = input.files ?? [];
    if (file === undefined) return;
    const text = await file.text();
    input.value = "";
    try {
      await this.#change("/rules/import", "POST", JSON.parse(text), "Rules imported.");
    } catch {
      setText(byId("alerts-error"), "The file holds no JSON.");
    }
  }
}
