/**
 * The table of devices: one page of rows at a time, whatever the fleet's size.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { DevicePage, DeviceRow } from "./shapes.ts" */
import { devicePage, request } from "./api.js";
import { byId, setStatus, setText, watchUse } from "./dom.js";
import {
  formatAgo,
  formatCount,
  formatDuration,
  formatRate,
  payloadBytes,
  UNKNOWN,
  visible,
} from "./format.js";
import { Sparklines } from "./sparklines.js";

const ROWS = 50;
const SEARCH_DELAY_MS = 150;
const PREVIEW_BYTES = 24;

/**
 * @typedef {object} Row
 * @property {HTMLTableRowElement} element
 * @property {DeviceRow} device
 *
 * @typedef {object} TableOptions
 * @property {() => number} serverNow Unix milliseconds by the api's clock
 * @property {(deviceIds: readonly string[]) => void} onRows called when other devices are shown
 */

/** Filters, order and place are those of the address bar, except for the place: it is gone with the page. */
export class DeviceTable {
  #options;
  #table = byId("devices");
  #body = /** @type {HTMLTableSectionElement} */ (byId("devices").querySelector("tbody"));
  #isUsed = watchUse(this.#body);
  #prefix = /** @type {HTMLInputElement} */ (byId("prefix"));
  #sort = "id";
  #order = "asc";
  /** Cursors of the pages before this one and of this one; the first page has none. @type {string[]} */
  #cursors = [];
  /** @type {string | null} */
  #nextCursor = null;
  /** @type {Map<string, Row>} */
  #rows = new Map();
  #sparklines = new Sparklines();
  /** @type {AbortController | undefined} */
  #loading;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #searching;

  /** @param {TableOptions} options */
  constructor(options) {
    this.#options = options;
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    this.#prefix.addEventListener("input", () => {
      clearTimeout(this.#searching);
      this.#searching = setTimeout(() => this.#startOver(), SEARCH_DELAY_MS);
    });
    byId("status").addEventListener("change", () => this.#startOver());
    byId("clear").addEventListener("click", () => {
      this.#setFilters("", "");
      this.#prefix.focus();
      this.#startOver();
    });
    for (const header of this.#headers()) {
      header.querySelector("button")?.addEventListener("click", () => this.#sortBy(header));
    }
    byId("next").addEventListener("click", () => {
      if (this.#nextCursor !== null) this.#turnTo([...this.#cursors, this.#nextCursor]);
    });
    byId("previous").addEventListener("click", () => this.#turnTo(this.#cursors.slice(0, -1)));
  }

  /** Takes filters and order from the address bar. */
  readAddress() {
    const before = this.#query().toString();
    const query = new URLSearchParams(location.search);
    // As the field would have it: typed by hand it may be anything.
    this.#setFilters((query.get("prefix") ?? "").slice(0, this.#prefix.maxLength), query.get("status") ?? "");
    const header = this.#headers().find(({ dataset }) => dataset.sort === query.get("sort"));
    this.#sort = header?.dataset.sort ?? "id";
    this.#order = query.get("order") === "desc" ? "desc" : "asc";
    if (this.#query().toString() !== before) this.#cursors = [];
    this.#showOrder();
  }

  /**
   * Reads this page of the table anew.
   *
   * @param {{ announce?: boolean }} [how] whether to say the result aloud, as a reader asked for it
   */
  async load({ announce = false } = {}) {
    this.#loading?.abort();
    const loading = this.#loading = new AbortController();
    const query = this.#query();
    query.set("limit", String(ROWS));
    const cursor = this.#cursors.at(-1);
    if (cursor !== undefined) query.set("cursor", cursor);
    try {
      /** @type {DevicePage} */
      const page = await request(`/devices?${query}`, { signal: loading.signal });
      this.#show(page, announce);
    } catch {
      // Rows stay as they are: the connection says what is wrong, and rows are read anew when it is over.
    } finally {
      if (this.#loading === loading) this.#loading = undefined;
    }
  }

  /** Reads anew what may have moved, unless that was asked for already. */
  refresh() {
    if (this.#loading === undefined) this.load();
  }

  /** @returns {readonly string[]} the devices shown */
  get deviceIds() {
    return [...this.#rows.keys()];
  }

  /** @param {readonly DeviceRow[]} devices fresh values of devices that may be shown */
  update(devices) {
    for (const device of devices) {
      const row = this.#rows.get(device.device_id);
      if (row === undefined) continue;
      row.device = device;
      this.#fill(row);
    }
  }

  /** Moves the times on. */
  tick() {
    for (const row of this.#rows.values()) this.#fillTime(row);
    this.#sparklines.want(new Map([...this.#rows].map(([id, row]) => [id, row.element])));
  }

  /**
   * @param {DevicePage} page
   * @param {boolean} announce
   */
  #show({ devices, total, next_cursor }, announce) {
    this.#nextCursor = next_cursor;
    // A page that became empty as devices were deleted: the one before has what is left.
    if (devices.length === 0 && this.#cursors.length > 0) return this.#turnTo(this.#cursors.slice(0, -1));
    // Rows do not move away under a pointer or a focus, unless a reader asked for others.
    const isHeld = !announce && this.#rows.size > 0 && this.#isUsed();
    if (isHeld) this.update(devices);
    else this.#replaceRows(devices);
    const first = this.#cursors.length * ROWS + 1;
    const position = devices.length === 0
      ? "No devices"
      : `${formatCount(first)}–${formatCount(first + devices.length - 1)} of ${formatCount(total)}`;
    setText(byId("position"), position);
    if (announce) setText(byId("announcement"), `Devices ${position}`);
    byId("none").hidden = total > 0;
    this.#table.hidden = total === 0;
    /** @type {HTMLButtonElement} */ (byId("next")).disabled = next_cursor === null;
    /** @type {HTMLButtonElement} */ (byId("previous")).disabled = this.#cursors.length === 0;
  }

  /** @param {readonly DeviceRow[]} devices */
  #replaceRows(devices) {
    const before = this.#rows;
    this.#rows = new Map();
    for (const device of devices) {
      const row = before.get(device.device_id) ?? this.#newRow(device);
      row.device = device;
      this.#rows.set(device.device_id, row);
    }
    const elements = [...this.#rows.values()].map(({ element }) => element);
    const isSame = elements.length === this.#body.children.length &&
      elements.every((element, i) => element === this.#body.children[i]);
    if (!isSame) this.#body.replaceChildren(...elements);
    for (const row of this.#rows.values()) this.#fill(row);
    this.tick();
    this.#options.onRows(this.deviceIds);
  }

  /**
   * @param {DeviceRow} device
   * @returns {Row}
   */
  #newRow(device) {
    const template = /** @type {HTMLTemplateElement} */ (byId("row"));
    const element = /** @type {HTMLTableRowElement} */ (template.content.firstElementChild?.cloneNode(true));
    const link = /** @type {HTMLAnchorElement} */ (element.querySelector("a"));
    link.href = devicePage(device.device_id);
    setText(/** @type {Element} */ (link.firstElementChild), visible(device.device_id));
    return { element, device };
  }

  /** @param {Row} row */
  #fill(row) {
    const { element, device } = row;
    const [status, , rate, spark, count, , payload] = element.cells;
    setStatus(/** @type {any} */ (status?.firstElementChild), device.status);
    setText(/** @type {any} */ (rate), formatRate(device.rate_10s));
    this.#sparklines.draw(/** @type {any} */ (spark?.firstElementChild), device.device_id, device.rate_10s);
    setText(/** @type {any} */ (count), formatCount(device.count));
    setText(/** @type {any} */ (payload?.firstElementChild), preview(device.payload));
    this.#fillTime(row);
  }

  /** @param {Row} row */
  #fillTime({ element, device }) {
    const ago = formatAgo(device.last_seen_ms, this.#options.serverNow());
    const clock = device.clock_ahead_ms > 0 ? `, clock ${formatDuration(device.clock_ahead_ms)} ahead` : "";
    setText(/** @type {any} */ (element.cells[5]), ago + clock);
  }

  /** @param {HTMLElement} header */
  #sortBy({ dataset }) {
    const isSame = dataset.sort === this.#sort;
    this.#order = isSame ? (this.#order === "asc" ? "desc" : "asc") : dataset.first ?? "asc";
    this.#sort = dataset.sort ?? "id";
    this.#showOrder();
    this.#startOver();
  }

  #showOrder() {
    for (const header of this.#headers()) {
      if (header.dataset.sort !== this.#sort) header.removeAttribute("aria-sort");
      else header.setAttribute("aria-sort", this.#order === "asc" ? "ascending" : "descending");
    }
  }

  #startOver() {
    const query = this.#query().toString();
    history.replaceState(null, "", query ? `/?${query}` : "/");
    this.#turnTo([]);
  }

  /** @param {string[]} cursors */
  #turnTo(cursors) {
    this.#cursors = cursors;
    this.load({ announce: true });
  }

  /** What differs from the first page of all devices. */
  #query() {
    const query = new URLSearchParams();
    const checked = /** @type {HTMLInputElement} */ (byId("status").querySelector("input:checked"));
    if (this.#prefix.value !== "") query.set("prefix", this.#prefix.value);
    if (checked.value !== "") query.set("status", checked.value);
    if (this.#sort !== "id") query.set("sort", this.#sort);
    if (this.#order !== "asc") query.set("order", this.#order);
    return query;
  }

  /**
   * @param {string} prefix
   * @param {string} status
   */
  #setFilters(prefix, status) {
    this.#prefix.value = prefix;
    for (const input of byId("status").querySelectorAll("input")) {
      input.checked = input.value === (["online", "offline"].includes(status) ? status : "");
    }
  }

  /** @returns {HTMLElement[]} */
  #headers() {
    return [...this.#table.querySelectorAll("th")].filter(({ dataset }) => dataset.sort !== undefined);
  }
}

/**
 * @param {DeviceRow["payload"]} payload
 * @returns {string} text as it is, else the first bytes as hex
 */
function preview(payload) {
  if (payload.bytes === 0) return UNKNOWN;
  if (payload.text !== null) return visible(payload.text);
  const bytes = [...payloadBytes(payload).subarray(0, PREVIEW_BYTES)];
  return bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
}
