/**
 * Lists of devices that went silent or came back: of the fleet, or of one device.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { DeviceEvent, EventList } from "./shapes.ts" */
import { devicePage, request } from "./api.js";
import { byId, setText, watchUse } from "./dom.js";
import { formatAgo, formatDate, formatDuration, formatMoment, visible } from "./format.js";

/**
 * @typedef {object} SilencesOptions
 * @property {string} list id of the list
 * @property {string} none id of what is shown in place of an empty one
 * @property {number} limit how many events are shown
 * @property {() => number} serverNow Unix milliseconds by the api's clock
 *
 * @typedef {object} Item
 * @property {Element} element
 * @property {DeviceEvent} event
 * @property {number | undefined} backAtMs when a device that had gone silent was back
 */

/** The newest events, read anew when there is a newer one. */
export class Silences {
  #options;
  #list;
  #isUsed;
  /** Of this device only. @type {string | undefined} */
  #deviceId;
  /** Newest first. @type {Map<number, Item>} */
  #items = new Map();
  #followedId = 0;
  #isStale = false;
  #isLoading = false;

  /** @param {SilencesOptions} options */
  constructor(options) {
    this.#options = options;
    this.#list = byId(options.list);
    this.#isUsed = watchUse(this.#list);
  }

  /** @param {string | undefined} deviceId whose events to show from now on; undefined: everyone's */
  open(deviceId) {
    this.#deviceId = deviceId;
    this.#items.clear();
    this.#list.replaceChildren();
    this.#list.hidden = byId(this.#options.none).hidden = true;
    this.load();
  }

  /** Reads the events anew; keeps what is there if that fails, as the connection will say why. */
  load() {
    this.#isStale = true;
    this.#loadWhenFree();
  }

  /** @param {number} lastEventId the fleet's newest */
  follow(lastEventId) {
    if (lastEventId === this.#followedId) return;
    this.#followedId = lastEventId;
    this.load();
  }

  /** Moves the times on. */
  tick() {
    this.#loadWhenFree();
    for (const item of this.#items.values()) this.#fill(item);
  }

  /** @returns {Promise<void>} */
  async #loadWhenFree() {
    // Rows do not move away under a pointer or a focus.
    if (!this.#isStale || this.#isLoading || this.#items.size > 0 && this.#isUsed()) return;
    const deviceId = this.#deviceId;
    const query = new URLSearchParams({ limit: String(this.#options.limit) });
    if (deviceId !== undefined) query.set("device", deviceId);
    this.#isStale = false;
    this.#isLoading = true;
    /** @type {EventList | undefined} */
    const answer = await request(`/events?${query}`).catch(() => undefined);
    this.#isLoading = false;
    if (deviceId !== this.#deviceId) return this.#loadWhenFree();
    if (answer !== undefined) this.#show(answer.events);
  }

  /** @param {readonly DeviceEvent[]} events oldest first */
  #show(events) {
    const before = this.#items;
    this.#items = new Map();
    /** @type {Map<string, number>} */
    const backAtMs = new Map();
    for (const event of [...events].reverse()) {
      const { id, kind, device_id } = event;
      const element = before.get(id)?.element ?? this.#newItem(event);
      this.#items.set(id, { element, event, backAtMs: backAtMs.get(device_id) });
      if (kind === "online") backAtMs.set(device_id, event.at_ms);
      else backAtMs.delete(device_id);
    }
    const elements = [...this.#items.values()].map(({ element }) => element);
    const isSame = elements.length === this.#list.children.length &&
      elements.every((element, i) => element === this.#list.children[i]);
    if (!isSame) this.#list.replaceChildren(...elements);
    for (const item of this.#items.values()) this.#fill(item);
    this.#list.hidden = events.length === 0;
    byId(this.#options.none).hidden = events.length > 0;
  }

  /**
   * @param {DeviceEvent} event
   * @returns {Element}
   */
  #newItem({ kind, device_id, at_ms, last_seen_ms }) {
    const template = /** @type {HTMLTemplateElement} */ (byId("event"));
    const element = /** @type {Element} */ (template.content.firstElementChild?.cloneNode(true));
    element.querySelector(".status")?.setAttribute("data-status", kind);
    const link = /** @type {HTMLAnchorElement} */ (element.querySelector("a"));
    link.href = devicePage(device_id);
    setText(/** @type {Element} */ (link.firstElementChild), visible(device_id));
    // In its own view it need not be named.
    link.hidden = this.#deviceId !== undefined;
    const time = /** @type {HTMLTimeElement} */ (element.querySelector("time"));
    time.dateTime = new Date(at_ms).toISOString();
    time.title = `Noticed ${formatDate(at_ms)}; last heard before it ${formatDate(last_seen_ms)}`;
    return element;
  }

  /** @param {Item} item */
  #fill({ element, event: { kind, at_ms, last_seen_ms }, backAtMs }) {
    const now = this.#options.serverNow();
    const what = kind === "online"
      ? `Came back after ${formatDuration(at_ms - last_seen_ms)}`
      : backAtMs !== undefined
      ? `Went silent, for ${formatDuration(backAtMs - last_seen_ms)}`
      : `Went silent ${formatAgo(last_seen_ms, now)}`;
    setText(/** @type {Element} */ (element.querySelector(".what")), what);
    setText(/** @type {Element} */ (element.querySelector("time")), formatMoment(at_ms, now));
  }
}
