/**
 * The fleet's events in the page: the newest are requested at once, older ones when a list needs them. Events close in
 * time are grouped to one entry, such as devices that went offline together.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { DeviceEvent, DeviceEventList } from "./shapes.ts" */
import { request } from "./api.js";

/** Enough for the overview of a fleet with few events; 26 KB. */
const FIRST_EVENTS = 200;
/** The api's maximum for one response. */
const EVENTS_PER_REQUEST = 1_000;
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

  /** @param {() => void} onChange called when the events changed */
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

  /** @param {number} lastEventId id of the fleet's newest event */
  follow(lastEventId) {
    if (lastEventId === this.#followedId) return;
    this.#followedId = lastEventId;
    this.load();
  }

  /** Requests newer events; on failure the events stay, and the connection's state shows the cause. */
  load() {
    this.#isStale = true;
    this.#read();
  }

  /** Requests older events, once. */
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
        // Requested again with the next event, or when the connection is back.
      }
    }
    this.#isReading = false;
  }

  async #readNewer() {
    let events = this.#events;
    const isFar = this.#followedId - (events.at(-1)?.id ?? 0) > MAX_EVENTS / 2;
    while (events.length > 0 && !isFar) {
      const last = /** @type {DeviceEvent} */ (events.at(-1));
      // The newest known event is requested again: if it differs, the store was emptied meanwhile.
      const [again, ...news] = await readEvents({ after: last.id - 1, limit: EVENTS_PER_REQUEST });
      if (again?.id !== last.id || again.at_ms !== last.at_ms || again.device_id !== last.device_id) break;
      events = [...events, ...news];
      if (news.length < EVENTS_PER_REQUEST - 1) {
        this.#events = events.slice(-MAX_EVENTS);
        return;
      }
    }
    this.#events = await readEvents({ limit: FIRST_EVENTS });
    this.#hasOlder = this.#events.length === FIRST_EVENTS;
  }

  async #readOlder() {
    const oldest = this.#events[0];
    if (!this.#hasOlder || oldest === undefined || this.#events.length >= MAX_EVENTS) return;
    const older = await readEvents({ before: oldest.id, limit: EVENTS_PER_REQUEST });
    this.#hasOlder = older.length === EVENTS_PER_REQUEST && this.#events.length + older.length < MAX_EVENTS;
    this.#events = [...older, ...this.#events].slice(-MAX_EVENTS);
  }
}

/**
 * @param {{ after?: number, before?: number, limit: number, device?: string }} query
 * @returns {Promise<readonly DeviceEvent[]>} oldest first
 */
export async function readEvents(query) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) parameters.set(name, String(value));
  /** @type {DeviceEventList} */
  const { events } = await request(`/events?${parameters}`);
  return events;
}

/** Devices with one cause are detected one after another, as each sends at an interval of its own. */
const MAX_GAP_MS = 30_000;
/** In a large fleet some device always goes offline: without this bound, one group would never end. */
const MAX_SPAN_MS = 120_000;
/** Two names take no more room than the number of two devices. */
const MIN_GROUP = 3;

/**
 * One line of a list.
 *
 * @typedef {object} Entry
 * @property {string} key stays the same while the entry grows
 * @property {DeviceEvent["kind"]} kind
 * @property {readonly DeviceEvent[]} events oldest first, each of another device; one, or a group
 * @property {boolean} isCut devices may be missing, as older events are not loaded
 */

/**
 * @param {readonly DeviceEvent[]} events oldest first
 * @param {DeviceEvent | undefined} oldest the oldest loaded event, before filtering
 * @returns {Entry[]} newest first
 */
export function groupEvents(events, oldest) {
  /** @type {{ kind: DeviceEvent["kind"], events: DeviceEvent[], deviceIds: Set<string> }[]} */
  const groups = [];
  /** The latest group of each kind, which may grow. @type {Map<string, typeof groups[number]>} */
  const open = new Map();
  for (const event of events) {
    let group = open.get(event.kind);
    const first = group?.events[0];
    const last = group?.events.at(-1);
    const isNext = group !== undefined && first !== undefined && last !== undefined &&
      event.at_ms - last.at_ms <= MAX_GAP_MS && event.at_ms - first.at_ms <= MAX_SPAN_MS &&
      !group.deviceIds.has(event.device_id);
    if (group === undefined || !isNext) {
      group = { kind: event.kind, events: [], deviceIds: new Set() };
      groups.push(group);
      open.set(event.kind, group);
    }
    group.events.push(event);
    group.deviceIds.add(event.device_id);
  }
  /** Kinds whose oldest group was processed. @type {Set<string>} */
  const begun = new Set();
  const entries = groups.flatMap(({ kind, events: members }) => {
    const first = /** @type {DeviceEvent} */ (members[0]);
    const isCut = oldest !== undefined && oldest.id > 1 && !begun.has(kind) &&
      first.at_ms - oldest.at_ms <= MAX_GAP_MS;
    begun.add(kind);
    return members.length < MIN_GROUP
      ? members.map((event) => entryOf([event], false))
      : [entryOf(members, isCut)];
  });
  return entries.sort((a, b) => newestId(b) - newestId(a));
}

/**
 * @param {readonly DeviceEvent[]} events oldest first
 * @returns {Entry[]} newest first, one for each
 */
export function singleEvents(events) {
  return events.map((event) => entryOf([event], false)).reverse();
}

/**
 * When devices came back online, by the id of the offline event.
 *
 * @param {readonly DeviceEvent[]} events oldest first
 * @returns {Map<number, number>} Unix milliseconds
 */
export function returnsOf(events) {
  /** @type {Map<number, number>} */
  const returns = new Map();
  /** @type {Map<string, number>} */
  const backAtMs = new Map();
  for (let i = events.length - 1; i >= 0; i--) {
    const { id, kind, device_id, at_ms } = /** @type {DeviceEvent} */ (events[i]);
    const back = backAtMs.get(device_id);
    if (kind === "online") backAtMs.set(device_id, at_ms);
    else {
      if (back !== undefined) returns.set(id, back);
      backAtMs.delete(device_id);
    }
  }
  return returns;
}

/**
 * @param {readonly DeviceEvent[]} events
 * @param {boolean} isCut
 * @returns {Entry}
 */
function entryOf(events, isCut) {
  const first = /** @type {DeviceEvent} */ (events[0]);
  // A cut group loses its oldest members as new ones are added: its first id would change.
  const name = isCut ? "cut" : `${first.id}-${events.length > 1}`;
  return { key: `${first.kind}-${name}`, kind: first.kind, events, isCut };
}

/** @param {Entry} entry */
function newestId({ events }) {
  return events.at(-1)?.id ?? 0;
}
