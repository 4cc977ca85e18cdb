/**
 * Starts the page and moves between its views.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { ConnectionState } from "./connection.js" */
/** @import { DeviceView } from "./device.js" */
/** @import { AlertsView } from "./alerts_view.js" */
/** @import { EventsView } from "./events_view.js" */
/** @import { FleetFigures } from "./shapes.ts" */
import { entryState, readAddress } from "./address.js";
import { Connection } from "./connection.js";
import { byId, hasSelection, setText } from "./dom.js";
import { FleetEvents } from "./events.js";
import { formatClock, formatCount, visible } from "./format.js";
import { healthOf, HEALTHY } from "./health.js";
import { Overview } from "./overview.js";
import { onTokenNeeded, storedToken } from "./token.js";
import { DeviceTable } from "./table.js";

/** How often rows are requested again, as other devices may belong on this page of the table. */
const REFRESH_MS = 3_000;

/** How often open incidents are counted. */
const COUNT_INCIDENTS_MS = 10_000;

/** @type {Record<ConnectionState, string>} */
const STATE_NAMES = {
  connecting: "Connecting",
  live: "Live",
  lost: "Reconnecting",
  "store-down": "Store down",
  locked: "Locked",
};

/** @type {Readonly<Record<string, string>>} */
const VIEW_NAMES = { events: "Events", alerts: "Alerts" };

// Before the first request.
onTokenNeeded((reason) => import("./sign_in.js").then(({ requestToken }) => requestToken(reason)));
if (storedToken() !== undefined) import("./sign_in.js").then(({ offerToForget }) => offerToForget());

/** The api's clock less the browser's, ms. */
let clockAheadMs = 0;
const serverNow = () => Date.now() + clockAheadMs;

/** @type {"overview" | "device" | "events" | "alerts"} */
let view = "overview";
/** @type {string | undefined} */
let deviceId;
/** The latest. @type {FleetFigures | undefined} */
let figures;
let health = HEALTHY;
/** Loaded when it is first opened. @type {EventsView | undefined} */
let eventsView;
/** The same. @type {AlertsView | undefined} */
let alertsView;
/** Likewise. @type {DeviceView | undefined} */
let device;
let devicesBefore = -1;
let onlineBefore = -1;
let lastFrameMs = 0;
let refreshedAtMs = 0;
let countedAtMs = -Infinity;

const events = new FleetEvents(() => {
  overview.showEvents();
  eventsView?.show();
});
const overview = new Overview({ serverNow, source: events });
const table = new DeviceTable({ serverNow, onRows: watchShown });
const connection = new Connection({
  onFleet(frame) {
    applyFigures(frame);
    overview.show(frame);
    events.follow(frame.last_event_id);
    device?.follow(frame.last_event_id);
    if (view !== "overview") return;
    // A device was added, deleted or changed its status: show it now, not at the next refresh.
    if (frame.devices !== devicesBefore || frame.online !== onlineBefore) refreshTable();
    devicesBefore = frame.devices;
    onlineBefore = frame.online;
  },
  onPoll: applyFigures,
  onDevices(rows, removed) {
    table.update(rows);
    device?.update(rows);
    if (removed.length > 0) deviceId === undefined ? refreshTable() : device?.load();
  },
  onState(state, message) {
    showState(state, message);
    if (state !== "live" || document.hidden) return;
    overview.load();
    events.load();
    if (view === "overview") refreshTable();
    else if (view === "device") device === undefined ? openDevice() : device.reload();
    else if (view === "events" && eventsView === undefined) openEvents();
    else if (view === "alerts" && alertsView === undefined) openAlerts();
  },
});

document.addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest("a") : null;
  const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  if (link === null || !isPlain || link.origin !== location.origin) return;
  // The click ended a selection of text in the link.
  if (event.detail > 0 && hasSelection(link)) return event.preventDefault();
  if (link.pathname !== "/") return;
  event.preventDefault();
  // Back to the list as it was left, which may be several history entries away.
  const { depth } = entryState();
  if (link.search === "" && view === "device" && depth !== undefined) return history.go(-depth);
  history.pushState(view === "overview" && link.search ? { depth: 1 } : {}, "", link.href);
  navigated();
  scrollTo(0, 0);
});
addEventListener("popstate", navigated);
document.addEventListener("click", ({ target, detail }) => {
  const button = target instanceof Element ? target.closest("button") : null;
  // Those that are added later too.
  if (button?.dataset.copy === undefined) return;
  // After a click it must not keep the focus, which would hold back changes of the rows around it.
  if (detail > 0) button.blur();
  import("./copy.js").then(({ copyOf }) => copyOf(button), () => {});
});
setInterval(() => {
  if (document.hidden) return;
  if (view === "overview") {
    overview.tick();
    table.tick();
  }
  eventsView?.tick();
  alertsView?.tick();
  device?.tick();
  if (connection.state === "live" && performance.now() - refreshedAtMs > REFRESH_MS) refreshTable();
  if (connection.state === "live" && performance.now() - countedAtMs > COUNT_INCIDENTS_MS) {
    countedAtMs = performance.now();
    // Not needed for the first view.
    import("./open_incidents.js").then(({ countIncidents }) => countIncidents(), () => {});
  }
}, 1000);
route();

/** @param {FleetFigures} latest */
function applyFigures(latest) {
  clockAheadMs = latest.now_ms - Date.now();
  lastFrameMs = Date.now();
  figures = latest;
  health = healthOf(latest);
  byId("anonymous").hidden = !latest.api.anonymous_access;
  showState(connection.state, connection.message);
}

/** Shows the view of the address; as after a page load, screen readers and the Tab key start at the new view. */
function navigated() {
  const [viewBefore, deviceBefore] = [view, deviceId];
  route();
  if (view !== viewBefore || deviceId !== deviceBefore) byId(view).focus({ preventScroll: true });
}

function route() {
  const query = readAddress();
  deviceId = query.get("device") ?? undefined;
  const named = query.get("view");
  view = deviceId !== undefined ? "device" : named === "events" || named === "alerts" ? named : "overview";
  for (const id of ["overview", "device", "events", "alerts"]) byId(id).hidden = id !== view;
  openDevice();
  openEvents();
  openAlerts();
  if (view === "overview") {
    overview.readAddress();
    table.readAddress();
    table.load();
  }
  watchShown(table.deviceIds);
  showTitle();
}

async function openDevice() {
  if (view === "device" && device === undefined) {
    // As below.
    const module = await import("./device.js").catch(() => undefined);
    if (module === undefined) return;
    device ??= new module.DeviceView({ serverNow, onDeleted });
  }
  device?.open(deviceId);
}

function onDeleted() {
  history.pushState(null, "", "/");
  navigated();
  setText(byId("announcement"), "Device deleted.");
}

async function openEvents() {
  if (view === "events" && eventsView === undefined) {
    // After a failure it is imported again when the connection is back.
    const module = await import("./events_view.js").catch(() => undefined);
    if (module === undefined) return;
    eventsView ??= new module.EventsView({ serverNow, source: events });
  }
  eventsView?.open(view === "events");
}

async function openAlerts() {
  if (view === "alerts" && alertsView === undefined) {
    // As above.
    const module = await import("./alerts_view.js").catch(() => undefined);
    if (module === undefined) return;
    alertsView ??= new module.AlertsView({ serverNow });
  }
  alertsView?.open(view === "alerts");
}

function showTitle() {
  const isKnown = connection.state === "live" && figures !== undefined;
  const name = deviceId !== undefined ? visible(deviceId) : VIEW_NAMES[view] ?? fleetName(isKnown);
  const warning = titleWarning();
  const title = `${warning === "" ? "" : `${warning} · `}${name} · Tally`;
  if (document.title !== title) document.title = title;
  const icon = /** @type {HTMLLinkElement} */ (byId("icon"));
  const href = warning === "" ? "/page/icon.svg" : "/page/icon_alert.svg";
  if (icon.getAttribute("href") !== href) icon.href = href;
}

/** @param {boolean} isKnown */
function fleetName(isKnown) {
  if (!isKnown || figures === undefined) return "Fleet";
  const online = formatCount(figures.online);
  return health.level === "ok" ? `${online} online` : `${online} of ${formatCount(figures.devices)} online`;
}

function titleWarning() {
  const { state } = connection;
  if (state === "lost" || state === "store-down") return STATE_NAMES[state];
  return state === "live" ? health.name : "";
}

/** @param {readonly string[]} deviceIds */
function watchShown(deviceIds) {
  connection.watch(view === "overview" ? deviceIds : deviceId !== undefined ? [deviceId] : []);
}

function refreshTable() {
  if (view !== "overview" || document.hidden) return;
  refreshedAtMs = performance.now();
  table.refresh();
}

/**
 * @param {ConnectionState} state
 * @param {string} message
 */
function showState(state, message) {
  const isLive = state === "live";
  const mark = byId("connection");
  mark.dataset.state = document.body.dataset.state = state;
  mark.dataset.level = document.body.dataset.level = isLive ? health.level : "ok";
  const warning = isLive && health.name !== "" ? `, ${health.name.toLowerCase()}` : "";
  setText(mark, STATE_NAMES[state] + warning);
  const since = lastFrameMs === 0 ? "" : ` The figures are from ${formatClock(lastFrameMs, true)}.`;
  const notice = byId("notice");
  if (state === "lost") {
    setText(notice, `The connection to Tally is lost.${since} Reconnecting…`);
  } else if (state === "store-down") {
    const reason = message ? ` (${visible(message)})` : "";
    setText(
      notice,
      `The api cannot reach its store${reason}.${since} The page updates again when the store is back.`,
    );
  } else if (isLive) setText(notice, health.message);
  notice.dataset.level = isLive ? health.level : "alarm";
  notice.hidden = isLive ? health.level === "ok" : state === "connecting" || state === "locked";
  showTitle();
}
