/**
 * Groups of devices by tag: figures of each.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { TagList } from "./shapes.ts" */
import { request } from "./api.js";
import { byId, fromTemplate, setText } from "./dom.js";
import { formatCount, formatRate, visible } from "./format.js";
import { offerTags } from "./tag_filter.js";

/** The tags are requested this often. */
const REFRESH_MS = 3_000;
/** Groups shown, and values of each key to choose from. */
const MAX_GROUPS = 24, MAX_CHOICES = 100;

const chosenKey = /** @type {HTMLSelectElement} */ (byId("group-key"));

/** @type {TagList["keys"]} */
let keys = [];
let requestedAtMs = -Infinity;

chosenKey.addEventListener("change", showGroups);

/** Requests the tags again if it is time; called with every frame. */
export async function followTags() {
  if (document.hidden || performance.now() - requestedAtMs < REFRESH_MS) return;
  requestedAtMs = performance.now();
  /** @type {TagList | undefined} */
  const list = await request(`/tags?limit=${MAX_CHOICES}`).catch(() => undefined);
  if (list === undefined) return;
  keys = list.keys;
  showKeys();
  offerTags(keys.flatMap(({ key, values }) => values.map(({ value }) => `${key}=${value}`)));
  showGroups();
}

/** The key stays as it was chosen. At first it is the one with fewest values, as those are groups. */
function showKeys() {
  const names = keys.map(({ key }) => key);
  const before = [...chosenKey.options].map(({ value }) => value);
  if (names.join() === before.join()) return;
  const fewest = keys.toSorted((a, b) => a.values_total - b.values_total)[0]?.key ?? "";
  const chosen = names.includes(chosenKey.value) ? chosenKey.value : fewest;
  chosenKey.replaceChildren(...names.map((name) => new Option(name, name)));
  chosenKey.value = chosen;
}

function showGroups() {
  const group = keys.find(({ key }) => key === chosenKey.value);
  byId("groups").hidden = group === undefined;
  const values = group?.values.slice(0, MAX_GROUPS) ?? [];
  const list = byId("group-list");
  while (list.children.length > values.length) list.lastElementChild?.remove();
  while (list.children.length < values.length) list.append(fromTemplate("group"));
  values.forEach(({ value, devices, online, rate_10s }, i) => {
    const item = /** @type {Element} */ (list.children[i]);
    const link = /** @type {HTMLAnchorElement} */ (item.querySelector("a"));
    const href = `/?${new URLSearchParams({ tag: `${group?.key}=${value}` })}`;
    if (link.getAttribute("href") !== href) link.href = href;
    setText(/** @type {Element} */ (link.firstElementChild), visible(value));
    const meter = /** @type {HTMLMeterElement} */ (item.querySelector("meter"));
    [meter.max, meter.value] = [devices, online];
    meter.low = meter.high = devices;
    setText(
      /** @type {Element} */ (item.querySelector("[data-of=online]")),
      `${formatCount(online)} of ${formatCount(devices)} online`,
    );
    setText(
      /** @type {Element} */ (item.querySelector("[data-of=rate]")),
      `${formatRate(rate_10s)} packets/s`,
    );
  });
  const more = (group?.values_total ?? 0) - values.length;
  setText(byId("more-groups"), more > 0 ? `${formatCount(more)} more, with fewer devices` : "");
}
