/**
 * The view of one device: figures, history, latest payload, events, and deletion.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { DeviceDetail } from "./shapes.ts" */
import { ApiError, deviceUrl, request } from "./api.js";
import { DeviceCharts } from "./device_charts.js";
import { byId, fromTemplate, setFigure, setStatus, setText } from "./dom.js";
import { EventList } from "./event_list.js";
import { readEvents } from "./events.js";
import {
  formatAgo,
  formatCount,
  formatDate,
  formatDuration,
  formatPace,
  formatRate,
  visible,
} from "./format.js";
import { LabelsView } from "./labels.js";
import { PayloadView } from "./payload_view.js";

/** Frames have only the beginning of a long payload; the whole is requested at most this often. */
const PAYLOAD_REFRESH_MS = 2_000;
const EVENTS_SHOWN = 20;

/**
 * @typedef {object} DeviceViewOptions
 * @property {() => number} serverNow Unix milliseconds by the api's clock
 * @property {() => void} onDeleted
 */

/** The view at `/?device=…`. */
export class DeviceView {
  #options;
  #charts;
  #dialog = /** @type {HTMLDialogElement} */ (byId("confirm"));
  /** @type {string | undefined} */
  #deviceId;
  /** @type {DeviceDetail | undefined} */
  #device;
  #payload = new PayloadView();
  #labels = new LabelsView();
  #payloadAtMs = 0;
  #isPayloadStale = false;
  #isDeleting = false;
  #events;
  #eventsRequested = 0;
  #followedId = 0;

  /** @param {DeviceViewOptions} options */
  constructor(options) {
    this.#options = options;
    const { serverNow } = options;
    this.#events = new EventList({
      list: "device-events",
      none: "no-device-events",
      held: "device-events-held",
      isFleet: false,
      serverNow,
    });
    this.#charts = new DeviceCharts(serverNow);
    byId("delete").addEventListener("click", () => {
      setText(byId("confirm-error"), "");
      this.#dialog.showModal();
    });
    byId("confirm-delete").addEventListener("click", () => this.#delete());
  }

  /** @param {string | undefined} deviceId undefined: the view is left */
  open(deviceId) {
    // The same device: only the range changed.
    if (deviceId !== undefined && deviceId === this.#deviceId && this.#device !== undefined) {
      return this.#charts.readAddress();
    }
    this.#deviceId = deviceId;
    this.#device = undefined;
    byId("known").hidden = byId("unknown").hidden = true;
    this.#payload.clear();
    this.#labels.open(deviceId);
    if (this.#dialog.open) this.#dialog.close();
    if (deviceId === undefined) return;
    for (const element of document.querySelectorAll("bdi.id")) setText(element, visible(deviceId));
    byId("copy-device").dataset.copy = deviceId;
    byId("copy-device").setAttribute("aria-label", `Copy ${visible(deviceId)}`);
    byId("device-id").title = visible(deviceId);
    this.#events.clear();
    this.#charts.open(deviceId);
    this.#loadEvents();
    this.load();
  }

  /** @param {number} lastEventId id of the fleet's newest event, which may be of this device */
  follow(lastEventId) {
    if (this.#device === undefined || lastEventId === this.#followedId) return;
    this.#followedId = lastEventId;
    this.#loadEvents();
  }

  /** Requests device, history and events again. */
  reload() {
    this.#loadEvents();
    this.#charts.load();
    this.load();
  }

  async #loadEvents() {
    const deviceId = this.#deviceId;
    if (deviceId === undefined) return;
    const requested = ++this.#eventsRequested;
    const events = await readEvents({ limit: EVENTS_SHOWN, device: deviceId }).catch(() => undefined);
    // Responses may arrive out of order: only that of the latest request counts.
    if (events !== undefined && requested === this.#eventsRequested) this.#events.show(events, EVENTS_SHOWN);
  }

  /** Requests the device again; on failure the view stays as it is, and the connection's state shows the cause. */
  async load() {
    const deviceId = this.#deviceId;
    if (deviceId === undefined) return;
    this.#payloadAtMs = performance.now();
    this.#isPayloadStale = false;
    try {
      /** @type {DeviceDetail} */
      const device = await request(deviceUrl(deviceId));
      if (deviceId !== this.#deviceId) return;
      this.#show(device);
      this.#payload.show(device.payload);
    } catch (error) {
      if (deviceId !== this.#deviceId || !(error instanceof ApiError) || error.status !== 404) return;
      this.#device = undefined;
      byId("known").hidden = true;
      byId("unknown").hidden = false;
    }
  }

  /** @param {readonly DeviceDetail[]} devices new values, possibly of this device */
  update(devices) {
    const device = devices.find(({ device_id }) => device_id === this.#deviceId);
    if (device === undefined) return;
    // It did not exist until now, or the view was opened while the store was down.
    if (this.#device === undefined) return void this.load();
    const isNew = device.count !== this.#device.count;
    this.#show(device);
    if (!device.payload.truncated) {
      if (isNew) this.#payload.show(device.payload);
      this.#isPayloadStale = false;
    } else if (isNew) {
      this.#isPayloadStale = true;
    }
  }

  /** Updates relative times; called every second. */
  tick() {
    const device = this.#device;
    if (device === undefined) return;
    const now = this.#options.serverNow();
    setText(byId("device-seen"), `Last seen ${formatAgo(device.last_seen_ms, now)}`);
    setText(byId("device-since"), `in ${formatDuration(now - device.first_seen_ms)}`);
    const pace = formatPace(device, now);
    setFigure(byId("device-rate"), pace);
    setText(byId("device-rate-note"), pace.startsWith("every") ? "usually" : "over 10 s");
    this.#events.tick();
    if (this.#isPayloadStale && performance.now() - this.#payloadAtMs > PAYLOAD_REFRESH_MS) this.load();
    this.#charts.tick();
  }

  /** @param {DeviceDetail} device */
  #show(device) {
    this.#device = device;
    byId("known").hidden = false;
    byId("unknown").hidden = true;
    setStatus(byId("device-status"), device.status);
    setFigure(byId("device-rate-1m"), formatRate(device.rate_1m));
    setFigure(byId("device-count"), formatCount(device.count));
    this.#charts.show(device);
    this.#labels.show(device);
    showAttributes(device);
    setText(byId("first-seen"), formatDate(device.first_seen_ms));
    setText(byId("last-seen"), formatDate(device.last_seen_ms));
    setText(byId("timestamp"), `${formatDate(device.timestamp_ms)} ${clockError(device)}`);
    this.tick();
  }

  async #delete() {
    const deviceId = this.#deviceId;
    if (deviceId === undefined || this.#isDeleting) return;
    this.#isDeleting = true;
    setText(byId("confirm-error"), "");
    /** @type {unknown} */
    const failure = await request(deviceUrl(deviceId), { method: "DELETE" }).catch((error) => error);
    this.#isDeleting = false;
    // The user has left the view meanwhile.
    if (deviceId !== this.#deviceId) return;
    // 404: it was already deleted by another request, which is a success here.
    if (failure !== undefined && !(failure instanceof ApiError && failure.status === 404)) {
      const reason = failure instanceof Error ? failure.message : String(failure);
      setText(byId("confirm-error"), `Not deleted: ${reason}`);
      return;
    }
    this.#dialog.close();
    this.#options.onDeleted();
  }
}

/** @param {DeviceDetail} device */
function showAttributes({ attributes }) {
  const texts = Object.entries(attributes);
  byId("attributes-section").hidden = texts.length === 0;
  const list = byId("attributes");
  while (list.children.length > texts.length) list.lastElementChild?.remove();
  while (list.children.length < texts.length) list.append(fromTemplate("attribute"));
  texts.forEach(([name, text], i) => {
    const [key, value] = list.children[i]?.querySelectorAll("bdi") ?? [];
    setText(/** @type {Element} */ (key), visible(name));
    setText(/** @type {Element} */ (value), visible(text));
  });
}

/** @param {DeviceDetail} device */
function clockError({ timestamp_ms, last_seen_ms }) {
  const aheadMs = timestamp_ms - last_seen_ms;
  // A smaller difference is transmission and buffering.
  if (Math.abs(aheadMs) < 5000) return "";
  return `(${formatDuration(Math.abs(aheadMs))} ${aheadMs > 0 ? "ahead of" : "behind"} arrival)`;
}
