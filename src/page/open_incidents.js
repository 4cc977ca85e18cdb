/**
 * The number of open incidents, beside the link to them.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
import { request } from "./api.js";
import { byId, setText } from "./dom.js";
import { formatCount } from "./format.js";

/** Requests and shows the number. */
export async function countIncidents() {
  const { firing } = await request("/incidents?state=firing&limit=1").catch(() => ({ firing: 0 }));
  showOpenIncidents(firing);
}

/** @param {number} firing */
export function showOpenIncidents(firing) {
  const mark = byId("open-incidents");
  mark.hidden = firing === 0;
  setText(mark, formatCount(firing));
  mark.setAttribute("aria-label", `${formatCount(firing)} open`);
}
