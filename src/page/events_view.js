/**
 * The view of all stored events, with filters.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { FleetEvents } from "./events.js" */
/** @import { DeviceEvent } from "./shapes.ts" */
import { changeAddress, readAddress } from "./address.js";
import { byId, check, checkedValue, setText } from "./dom.js";
import { EventList } from "./event_list.js";
import { formatCount } from "./format.js";

const ENTRIES_AT_ONCE = 50;
const SEARCH_DELAY_MS = 150;

/** The view at `/?view=events`. */
export class EventsView {
  #source;
  #list;
  #search = /** @type {HTMLInputElement} */ (byId("event-search"));
  #limit = ENTRIES_AT_ONCE;
  #isOpen = false;
  #isTyping = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #searching;

  /** @param {{ serverNow: () => number, source: FleetEvents }} options */
  constructor({ serverNow, source }) {
    this.#source = source;
    this.#list = new EventList({
      list: "all-events",
      none: "no-events",
      held: "events-held",
      isFleet: true,
      serverNow,
    });
    byId("event-filters").addEventListener("submit", (event) => event.preventDefault());
    byId("event-kind").addEventListener("change", () => this.#filter(true));
    this.#search.addEventListener("blur", () => this.#isTyping = false);
    this.#search.addEventListener("input", () => {
      clearTimeout(this.#searching);
      this.#searching = setTimeout(() => {
        this.#filter(!this.#isTyping);
        this.#isTyping = true;
      }, SEARCH_DELAY_MS);
    });
    byId("more-events").addEventListener("click", () => {
      this.#limit += ENTRIES_AT_ONCE;
      this.show();
    });
  }

  /** @param {boolean} isOpen whether the view is shown from now on */
  open(isOpen) {
    clearTimeout(this.#searching);
    this.#isOpen = isOpen;
    if (!isOpen) return;
    this.#limit = ENTRIES_AT_ONCE;
    const query = readAddress();
    check("event-kind", query.get("kind") ?? "");
    const search = (query.get("search") ?? "").slice(0, this.#search.maxLength);
    if (this.#search.value !== search) this.#search.value = search;
    this.#list.clear();
    this.show();
  }

  /** Shows the loaded events that match the filters. */
  show() {
    if (!this.#isOpen || !this.#source.isLoaded) return;
    const { events, hasOlder } = this.#source;
    const kind = checkedValue("event-kind");
    const part = this.#search.value.toLowerCase();
    const entries = this.#list.show(
      events,
      this.#limit,
      (event) => (kind === "" || event.kind === kind) && (part === "" || textOf(event).includes(part)),
    );
    // Filters and totals need all stored events.
    if (hasOlder) this.#source.loadOlder();
    byId("more-events").hidden = entries <= this.#limit;
    const isSome = kind !== "" || part !== "";
    const found = `${formatCount(entries)} ${entries === 1 ? "entry" : "entries"}`;
    setText(
      byId("events-position"),
      `${found} of ${formatCount(events.length)} events${isSome ? ", filtered" : ""}`,
    );
  }

  /** Updates relative times; called every second. */
  tick() {
    if (this.#isOpen) this.#list.tick();
  }

  /** @param {boolean} push */
  #filter(push) {
    changeAddress({ kind: checkedValue("event-kind"), search: this.#search.value }, { push });
    this.#limit = ENTRIES_AT_ONCE;
    this.#list.clear();
    this.show();
  }
}

/**
 * What the search looks in: id, name and tags of the device.
 *
 * @param {DeviceEvent} event
 */
function textOf({ device_id, name, tags }) {
  const values = Object.entries(tags ?? {}).map(([key, value]) => `${key}=${value}`);
  return [device_id, name ?? "", ...values].join("\n").toLowerCase();
}
