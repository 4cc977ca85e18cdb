/**
 * A list of events: one line per device, or one for a group of devices.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { DeviceEvent } from "./shapes.ts" */
/** @import { Entry } from "./events.js" */
import { byId, fillId, fromTemplate, openOnClick, setText, watchUse } from "./dom.js";
import { groupEvents, returnsOf, singleEvents } from "./events.js";
import { formatAgo, formatCount, formatDate, formatDuration, formatMoment, visible } from "./format.js";

/** Names in the line of a group. */
const NAMES = 3;
/** Names in an open group: more are not readable, and slow to lay out. */
const MEMBERS_SHOWN = 100;

/**
 * @typedef {object} EventListOptions
 * @property {string} list id of the list
 * @property {string} none id of the element shown when the list is empty
 * @property {string} held id of the note shown while new events are held back
 * @property {boolean} isFleet whether it lists many devices, with names and groups
 * @property {() => number} serverNow Unix milliseconds by the api's clock
 *
 * @typedef {object} Line
 * @property {HTMLElement} element
 * @property {Entry} entry
 */

/** A list of the newest entries. Lines do not move while the list is in use. */
export class EventList {
  #options;
  #list;
  #isUsed;
  /** By key, newest first. @type {Map<string, Line>} */
  #lines = new Map();
  /** @type {ReadonlyMap<number, number>} */
  #returns = new Map();
  /** Update that is held back while the list is in use. @type {(() => void) | undefined} */
  #waiting;

  /** @param {EventListOptions} options */
  constructor(options) {
    this.#options = options;
    this.#list = byId(options.list);
    this.#isUsed = watchUse(this.#list, () => this.#showWaiting());
    openOnClick(this.#list, "li");
  }

  /** Removes all lines. */
  clear() {
    this.#waiting = undefined;
    this.#lines.clear();
    this.#list.replaceChildren();
    this.#list.hidden = byId(this.#options.none).hidden = byId(this.#options.held).hidden = true;
  }

  /**
   * @param {readonly DeviceEvent[]} events oldest first
   * @param {number} limit entries to show
   * @param {(event: DeviceEvent) => boolean} [isWanted]
   * @returns {number} number of entries, shown or not
   */
  show(events, limit, isWanted = () => true) {
    const wanted = events.filter(isWanted);
    const entries = this.#options.isFleet ? groupEvents(wanted, events[0]) : singleEvents(wanted);
    const show = () => this.#show(entries.slice(0, limit), returnsOf(events));
    const keys = entries.slice(0, limit).map(({ key }) => key).join();
    const isSame = keys === [...this.#lines.keys()].join();
    const isHeld = !isSame && this.#lines.size > 0 && this.#isUsed();
    byId(this.#options.held).hidden = !isHeld;
    this.#waiting = isHeld ? show : undefined;
    if (!isHeld) show();
    return entries.length;
  }

  /** Updates relative times; called every second. */
  tick() {
    if (!this.#isUsed()) this.#showWaiting();
    for (const line of this.#lines.values()) this.#fill(line);
  }

  #showWaiting() {
    const show = this.#waiting;
    if (show === undefined) return;
    this.#waiting = undefined;
    byId(this.#options.held).hidden = true;
    show();
  }

  /**
   * @param {readonly Entry[]} entries newest first
   * @param {ReadonlyMap<number, number>} returns
   */
  #show(entries, returns) {
    const before = this.#lines;
    this.#returns = returns;
    this.#lines = new Map();
    for (const entry of entries) {
      const element = before.get(entry.key)?.element ?? this.#newLine(entry);
      this.#lines.set(entry.key, { element, entry });
    }
    const elements = [...this.#lines.values()].map(({ element }) => element);
    const isSame = elements.length === this.#list.children.length &&
      elements.every((element, i) => element === this.#list.children[i]);
    if (!isSame) this.#list.replaceChildren(...elements);
    for (const line of this.#lines.values()) this.#fill(line);
    this.#list.hidden = entries.length === 0;
    byId(this.#options.none).hidden = entries.length > 0;
  }

  /**
   * @param {Entry} entry
   * @returns {HTMLElement}
   */
  #newLine({ key, kind, events }) {
    const isGroup = events.length > 1;
    const element = fromTemplate(isGroup ? "event-group" : "event");
    element.querySelector(".status")?.setAttribute("data-status", kind);
    if (isGroup) {
      element.querySelector("details")?.addEventListener("toggle", () => {
        const line = this.#lines.get(key);
        if (line !== undefined) this.#fill(line);
      });
      return element;
    }
    fillId(element, /** @type {DeviceEvent} */ (events[0]).device_id);
    // The device's own view does not repeat its name.
    if (!this.#options.isFleet) { for (const named of element.querySelectorAll("a, .copy")) named.remove(); }
    return element;
  }

  /** @param {Line} line */
  #fill({ element, entry }) {
    const now = this.#options.serverNow();
    const { events } = entry;
    const last = /** @type {DeviceEvent} */ (events.at(-1));
    const time = /** @type {HTMLTimeElement} */ (element.querySelector("time"));
    time.dateTime = new Date(last.at_ms).toISOString();
    time.title = `Detected ${formatDate(last.at_ms)}; last packet before it ${formatDate(last.last_seen_ms)}`;
    setText(time, formatMoment(last.at_ms, now));
    setText(/** @type {Element} */ (element.querySelector(".what")), this.#describe(entry, now));
    if (events.length > 1) fillGroup(element, entry);
  }

  /**
   * @param {Entry} entry
   * @param {number} nowMs
   * @returns {string}
   */
  #describe({ kind, events }, nowMs) {
    const upTo = events.length > 1 ? "up to " : "";
    if (kind === "online") {
      const longest = Math.max(...events.map(({ at_ms, last_seen_ms }) => at_ms - last_seen_ms));
      return `Back online after ${upTo}${formatDuration(longest)}`;
    }
    let back = 0;
    let longest = 0;
    let lastSeen = 0;
    for (const { id, last_seen_ms } of events) {
      const backAtMs = this.#returns.get(id);
      lastSeen = Math.max(lastSeen, last_seen_ms);
      if (backAtMs === undefined) continue;
      back++;
      longest = Math.max(longest, backAtMs - last_seen_ms);
    }
    if (back === events.length) return `Offline, back after ${upTo}${formatDuration(longest)}`;
    const some = back > 0 ? `, ${formatCount(back)} back online` : "";
    return `Offline, last seen ${formatAgo(lastSeen, nowMs)}${some}`;
  }
}

/**
 * @param {HTMLElement} element
 * @param {Entry} entry
 */
function fillGroup(element, { events, isCut }) {
  const count = `${formatCount(events.length)}${isCut ? " or more" : ""} devices`;
  const details = /** @type {HTMLDetailsElement} */ (element.querySelector("details"));
  const members = /** @type {Element} */ (element.querySelector(".members"));
  const shown = `${count} ${details.open}`;
  if (element.dataset.shown === shown) return;
  element.dataset.shown = shown;
  setText(/** @type {Element} */ (element.querySelector("b")), count);
  const names = /** @type {Element} */ (element.querySelector(".names"));
  names.replaceChildren(
    ...events.slice(0, NAMES).flatMap(({ device_id }, i) => {
      const name = document.createElement("bdi");
      setText(name, visible(device_id));
      return i === 0 ? [name] : [", ", name];
    }),
    events.length > NAMES ? ", …" : "",
  );
  if (!details.open) return void members.replaceChildren();
  const wanted = events.slice(0, MEMBERS_SHOWN);
  let lines = [...members.querySelectorAll(".named")];
  // Existing lines are kept: one of them may have the focus.
  if (lines[0]?.querySelector("a")?.title !== visible(wanted[0]?.device_id ?? "")) lines = [];
  for (const line of [...members.children]) if (!lines.includes(line)) line.remove();
  for (const { device_id } of wanted.slice(lines.length)) {
    const line = fromTemplate("event-member");
    fillId(line, device_id);
    members.append(line);
  }
  if (events.length === wanted.length) return;
  const more = document.createElement("li");
  more.className = "muted";
  setText(more, `and ${formatCount(events.length - wanted.length)} more`);
  members.append(more);
}
