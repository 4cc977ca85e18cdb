/**
 * Starts the page and moves between its two views.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { ConnectionState } from "./connection.js" */
import { Connection } from "./connection.js";
import { DeviceView } from "./device.js";
import { byId, setText } from "./dom.js";
import { formatClock, visible } from "./format.js";
import { Overview } from "./overview.js";
import { DeviceTable } from "./table.js";

/** How often rows are read anew, as others may belong on this page of the table by now. */
const REFRESH_MS = 3_000;

/** @type {Record<ConnectionState, string>} */
const STATE_NAMES = {
  connecting: "Connecting",
  live: "Live",
  lost: "Reconnecting",
  "store-down": "Store down",
};

/** How far the api's clock is ahead of this one. */
let clockAheadMs = 0;
const serverNow = () => Date.now() + clockAheadMs;

/** @type {string | undefined} */
let deviceId;
let devicesBefore = -1;
let onlineBefore = -1;
/** How many are online, as long as that is known. @type {number | undefined} */
let online;
let lastFrameMs = 0;
let refreshedAtMs = 0;

const overview = new Overview({ serverNow });
const table = new DeviceTable({ serverNow, onRows: watchShown });
const device = new DeviceView({
  serverNow,
  onDeleted() {
    history.pushState(null, "", "/");
    moved();
    setText(byId("announcement"), "Device deleted.");
  },
});
const connection = new Connection({
  onFleet(frame) {
    clockAheadMs = frame.now_ms - Date.now();
    lastFrameMs = Date.now();
    online = frame.online;
    overview.show(frame);
    device.follow(frame.last_event_id);
    showTitle();
    if (deviceId !== undefined) return;
    // A device came, went, or fell silent: it should be seen now, not at the next refresh.
    if (frame.devices !== devicesBefore || frame.online !== onlineBefore) refreshTable();
    devicesBefore = frame.devices;
    onlineBefore = frame.online;
  },
  onDevices(rows, removed) {
    table.update(rows);
    device.update(rows);
    if (removed.length > 0) deviceId === undefined ? refreshTable() : device.load();
  },
  onState(state, message) {
    showState(state, message);
    showTitle();
    if (state !== "live") return;
    overview.reload();
    if (deviceId === undefined) refreshTable();
    else device.reload();
  },
});

document.addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest("a") : null;
  const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  if (link === null || !isPlain || link.origin !== location.origin || link.pathname !== "/") return;
  event.preventDefault();
  // Back to the list as it was left, where that is one step away.
  if (link.search === "" && deviceId !== undefined && history.state === "from-list") return history.back();
  history.pushState(link.search && "from-list", "", link.href);
  moved();
  scrollTo(0, 0);
});
addEventListener("popstate", moved);
document.addEventListener("visibilitychange", showTitle);
setInterval(() => {
  if (document.hidden) return;
  overview.tick();
  table.tick();
  device.tick();
  if (connection.state === "live" && performance.now() - refreshedAtMs > REFRESH_MS) refreshTable();
}, 1000);
route();

/** As after a page load, who listens or tabs begins with what is new. */
function moved() {
  route();
  byId(deviceId === undefined ? "overview" : "device").focus({ preventScroll: true });
}

function route() {
  deviceId = new URLSearchParams(location.search).get("device") ?? undefined;
  byId("overview").hidden = deviceId !== undefined;
  byId("device").hidden = deviceId === undefined;
  device.open(deviceId);
  if (deviceId === undefined) {
    table.readAddress();
    table.load();
    watchShown(table.deviceIds);
  } else {
    connection.watch([deviceId]);
  }
  showTitle();
}

/** What a tab that is not seen says must not grow old: it has no connection then. */
function showTitle() {
  const { state } = connection;
  const isKnown = state === "live" && !document.hidden && online !== undefined;
  const view = deviceId !== undefined ? visible(deviceId) : isKnown ? `${online} online` : "Fleet";
  const trouble = state === "lost" || state === "store-down" ? `${STATE_NAMES[state]} · ` : "";
  const title = `${trouble}${view} · Tally`;
  if (document.title !== title) document.title = title;
}

/** @param {readonly string[]} deviceIds */
function watchShown(deviceIds) {
  if (deviceId === undefined) connection.watch(deviceIds);
}

function refreshTable() {
  if (deviceId !== undefined || document.hidden) return;
  refreshedAtMs = performance.now();
  table.refresh();
}

/**
 * @param {ConnectionState} state
 * @param {string} message
 */
function showState(state, message) {
  const mark = byId("connection");
  mark.dataset.state = document.body.dataset.state = state;
  setText(mark, STATE_NAMES[state]);
  const since = lastFrameMs === 0 ? "" : ` What you see is from ${formatClock(lastFrameMs, true)}.`;
  const notice = byId("notice");
  notice.hidden = state === "live" || state === "connecting";
  if (state === "lost") {
    setText(notice, `The connection to Tally is lost.${since} Trying again…`);
  } else if (state === "store-down") {
    const reason = message ? ` (${visible(message)})` : "";
    setText(
      notice,
      `The api cannot reach its store${reason}.${since} It goes on by itself when the store is back.`,
    );
  }
}
