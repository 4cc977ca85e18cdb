/**
 * The fleet's events as the page has them: the newest at once, older ones when a list has room for them.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { DeviceEvent, EventList } from "./shapes.ts" */
import { request } from "./api.js";

/** Enough for a list at a glance in a calm fleet, 26 KB. */
const FIRST_EVENTS = 200;
/** As many as the api gives at a time. */
const PAGE_EVENTS = 1_000;
/** As many as the api keeps. */
const MAX_EVENTS = 10_000;

/** At most 10,000 events, with consecutive ids. */
export class FleetEvents {
  /** Oldest first. @type {readonly DeviceEvent[]} */
  #events = [];
  #isLoaded = false;
  #hasOlder = true;
  #isStale = false;
  #wantsOlder = false;
  #isReading = false;
  #followedId = 0;
  #onChange;

  /** @param {() => void} onChange called when there are other events */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  /** @returns {readonly DeviceEvent[]} oldest first */
  get events() {
    return this.#events;
  }

  get isLoaded() {
    return this.#isLoaded;
  }

  get hasOlder() {
    return this.#hasOlder;
  }

  /** @param {number} lastEventId the fleet's newest */
  follow(lastEventId) {
    if (lastEventId === this.#followedId) return;
    this.#followedId = lastEventId;
    this.load();
  }

  /** Reads what is new; keeps what is there if that fails, as the connection will say why. */
  load() {
    this.#isStale = true;
    this.#read();
  }

  /** Reads a page of older events. */
  loadOlder() {
    this.#wantsOlder = true;
    this.#read();
  }

  async #read() {
    if (this.#isReading) return;
    this.#isReading = true;
    while (this.#isStale || this.#wantsOlder) {
      const isNewer = this.#isStale;
      if (isNewer) this.#isStale = false;
      else this.#wantsOlder = false;
      try {
        await (isNewer ? this.#readNewer() : this.#readOlder());
        this.#isLoaded = true;
        this.#onChange();
      } catch {
        // The next event, or the connection when it is back, has it read again.
      }
    }
    this.#isReading = false;
  }

  async #readNewer() {
    let events = this.#events;
    const isFar = this.#followedId - (events.at(-1)?.id ?? 0) > MAX_EVENTS / 2;
    while (events.length > 0 && !isFar) {
      const last = /** @type {DeviceEvent} */ (events.at(-1));
      // Asked for once more, the newest shows whether the store goes on from it, or was emptied meanwhile.
      const [again, ...news] = await list({ after: last.id - 1, limit: PAGE_EVENTS });
      if (again?.id !== last.id || again.at_ms !== last.at_ms || again.device_id !== last.device_id) break;
      events = [...events, ...news];
      if (news.length < PAGE_EVENTS - 1) {
        this.#events = events.slice(-MAX_EVENTS);
        return;
      }
    }
    this.#events = await list({ limit: FIRST_EVENTS });
    this.#hasOlder = this.#events.length === FIRST_EVENTS;
  }

  async #readOlder() {
    const oldest = this.#events[0];
    if (!this.#hasOlder || oldest === undefined || this.#events.length >= MAX_EVENTS) return;
    const older = await list({ before: oldest.id, limit: PAGE_EVENTS });
    this.#hasOlder = older.length === PAGE_EVENTS && this.#events.length + older.length < MAX_EVENTS;
    this.#events = [...older, ...this.#events].slice(-MAX_EVENTS);
  }
}

/**
 * @param {{ after?: number, before?: number, limit: number, device?: string }} query
 * @returns {Promise<readonly DeviceEvent[]>} oldest first
 */
export async function list(query) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) parameters.set(name, String(value));
  /** @type {EventList} */
  const { events } = await request(`/events?${parameters}`);
  return events;
}
