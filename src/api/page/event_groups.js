/**
 * Events of one cause as one entry: devices that went offline, or came back, about the same time.
 *
 * @module
 */
// @ts-check
/** @import { DeviceEvent } from "./shapes.ts" */

/** Devices are noticed once a second; what one cause does to them comes in with their own periods. */
const MAX_GAP_MS = 10_000;
/** A large fleet always has someone going: without an end that would be one group for ever. */
const MAX_SPAN_MS = 120_000;
/** Two devices are two names: no more to read than their number. */
const MIN_GROUP = 3;

/**
 * One line of a list.
 *
 * @typedef {object} Entry
 * @property {string} key stays the same while the entry grows
 * @property {DeviceEvent["kind"]} kind
 * @property {readonly DeviceEvent[]} events oldest first, each of another device; one alone, or a group
 * @property {boolean} isCut devices of it may be missing, as older events are not at hand
 */

/**
 * @param {readonly DeviceEvent[]} events oldest first
 * @returns {Entry[]} newest first
 */
export function groupEvents(events) {
  /** @type {{ kind: DeviceEvent["kind"], events: DeviceEvent[], deviceIds: Set<string> }[]} */
  const groups = [];
  /** The group that goes on, by kind. @type {Map<string, typeof groups[number]>} */
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
  const oldest = events[0];
  const isCut = oldest !== undefined && oldest.id > 1;
  return groups
    .flatMap((group) =>
      group.events.length < MIN_GROUP ? group.events.map((event) => [event]) : [group.events]
    )
    .map((members) => entryOf(members, isCut && members.length > 1 && members[0] === oldest))
    .sort((a, b) => newestId(b) - newestId(a));
}

/**
 * @param {readonly DeviceEvent[]} events oldest first
 * @returns {Entry[]} newest first, one for each
 */
export function singleEvents(events) {
  return events.map((event) => entryOf([event], false)).reverse();
}

/**
 * When devices that had gone offline were back, by the id of the event.
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
  // A cut one loses its oldest members as others come.
  const name = isCut ? "cut" : `${first.id}-${events.length > 1}`;
  return { key: `${first.kind}-${name}`, kind: first.kind, events, isCut };
}

/** @param {Entry} entry */
function newestId({ events }) {
  return events.at(-1)?.id ?? 0;
}
