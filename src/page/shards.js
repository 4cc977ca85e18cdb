/**
 * The shards of the store: where they are, and whether they answer.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { FleetFigures } from "./shapes.ts" */
import { byId, setText } from "./dom.js";
import { formatBytes, formatCount, formatDuration } from "./format.js";

/**
 * Nothing of a store that is one.
 *
 * @param {Pick<FleetFigures, "store" | "now_ms">} figures
 */
export function showShards({ store: { shards }, now_ms }) {
  byId("shards").hidden = shards.length === 0;
  const list = byId("shard-list");
  const template = /** @type {HTMLTemplateElement} */ (byId("shard"));
  while (list.children.length > shards.length) list.lastElementChild?.remove();
  while (list.children.length < shards.length) list.append(template.content.cloneNode(true));
  shards.forEach((shard, i) => showShard(/** @type {Element} */ (list.children[i]), i, shard, now_ms));
}

/**
 * @param {Element} item
 * @param {number} index
 * @param {FleetFigures["store"]["shards"][number]} shard
 * @param {number} nowMs
 */
function showShard(item, index, shard, nowMs) {
  const { address, devices, memory_bytes, response_ms, late_since_ms, counts_late_ms } = shard;
  /** @param {string} selector */
  const find = (selector) => /** @type {Element} */ (item.querySelector(selector));
  setText(find("b"), `Shard ${index}`);
  setText(find(".instance-name span"), address);
  setText(find("[data-of=devices]"), devices === null ? "Not known" : formatCount(devices));
  setText(find("[data-of=memory]"), memory_bytes === null ? "Not known" : formatBytes(memory_bytes));
  const answers = late_since_ms === null
    ? `In ${response_ms ?? 0} ms${
      (counts_late_ms ?? 0) >= 1_000 ? `, counts ${formatDuration(counts_late_ms ?? 0)} late` : ""
    }`
    : `Not for ${formatDuration(nowMs - late_since_ms)}: its devices are shown as they were`;
  setText(find("[data-of=answers]"), answers);
}
