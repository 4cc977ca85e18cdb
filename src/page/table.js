/**
 * The table of devices: one page of rows at a time, whatever the fleet's size.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { DeviceList, DeviceRow } from "./shapes.ts" */
/** @import { Row } from "./table_row.js" */
/** @import { ValueColumns } from "./value_columns.js" */
import { changeAddress, columnsText, entryState, readAddress, readColumns } from "./address.js";
import { ApiError, request } from "./api.js";
import { byId, check, checkedValue, openOnClick, setText, watchUse } from "./dom.js";
import { formatCount } from "./format.js";
import { Sparklines } from "./sparklines.js";
import { drawSparkline, fillRow, fillTimes, newRow } from "./table_row.js";

const ROWS = 50;
/** A tag that the api accepts. */
const TAG = /^[a-z][\w.-]{0,31}(=.{1,64})?$/is;
const SEARCH_DELAY_MS = 150;
/** The api's maximum offset is this many pages of rows. */
const MAX_PAGE = 20_000;
/** Cursors stored with an entry of the browser's history. */
const MAX_CURSORS = 100;
/** Of the key to sort by a value. */
const VALUE_SORT = "value:";

/**
 * @typedef {object} TableOptions
 * @property {() => number} serverNow Unix milliseconds by the api's clock
 * @property {(deviceIds: readonly string[]) => void} onRows called when other devices are shown
 */

/** The table; search, filter, order and page are in the address bar. */
export class DeviceTable {
  #options;
  #table = byId("devices");
  #body = /** @type {HTMLTableSectionElement} */ (byId("devices").querySelector("tbody"));
  #isUsed = watchUse(this.#body, () => this.#release());
  #search = /** @type {HTMLInputElement} */ (byId("search"));
  /** Those that devices must have. @type {readonly string[]} */
  #tags = [];
  #sort = "id";
  #order = "asc";
  /** From 1. */
  #page = 1;
  /** By page number: with its cursor a page continues after the last row of the page before, whatever moved since. */
  #cursors = /** @type {Record<number, string>} */ ({});
  /** @type {Map<string, Row>} */
  #rows = new Map();
  /** Names of the values that have a column. @type {readonly string[]} */
  #chosen = [];
  /** Loaded when the first is chosen. @type {ValueColumns | undefined} */
  #columns;
  #sparklines = new Sparklines(() => this.#drawSparklines());
  /** @type {AbortController | undefined} */
  #loading;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #searching;
  /** Whether the user is typing: "back" then returns to the state before the first letter. */
  #isTyping = false;

  /** @param {TableOptions} options */
  constructor(options) {
    this.#options = options;
    openOnClick(this.#body, "tr");
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    this.#search.addEventListener("blur", () => this.#isTyping = false);
    this.#search.addEventListener("input", () => {
      clearTimeout(this.#searching);
      this.#searching = setTimeout(() => {
        // The user has opened another view meanwhile.
        if (byId("overview").hidden) return;
        this.#startOver(!this.#isTyping);
        this.#isTyping = true;
      }, SEARCH_DELAY_MS);
    });
    byId("status").addEventListener("change", () => this.#startOver());
    byId("filters").addEventListener("tags", (event) => {
      this.#tags = /** @type {CustomEvent<readonly string[]>} */ (event).detail;
      this.#startOver();
    });
    byId("clear").addEventListener("click", () => {
      this.#search.value = "";
      this.#chooseTags([]);
      check("status", "");
      this.#search.focus();
      this.#startOver();
    });
    this.#table.querySelector("thead")?.addEventListener("click", ({ target }) => {
      const header = /** @type {Element} */ (target).closest("button")?.closest("th");
      if (header) this.#sortBy(header);
    });
    byId("columns").addEventListener("toggle", () => this.#openColumns());
    byId("next").addEventListener("click", () => this.#turnTo(this.#page + 1));
    byId("previous").addEventListener("click", () => this.#turnTo(this.#page - 1));
  }

  /** Sets search, filter, order and page from the address bar. */
  readAddress() {
    clearTimeout(this.#searching);
    const query = readAddress();
    // Limited as in the field, since the address may be typed by hand. Old addresses have `prefix`.
    const search = (query.get("search") ?? query.get("prefix") ?? "").slice(0, this.#search.maxLength);
    if (this.#search.value !== search) this.#search.value = search;
    check("status", query.get("status") ?? "");
    this.#chooseTags(query.getAll("tag").filter((tag) => TAG.test(tag)));
    this.#chosen = readColumns(query.get("columns") ?? "");
    const sort = query.get("sort") ?? "";
    const isKnown = sort.startsWith(VALUE_SORT)
      ? this.#chosen.includes(sort.slice(VALUE_SORT.length))
      : this.#headers().some(({ dataset }) => dataset.sort === sort);
    this.#sort = isKnown ? sort : "id";
    this.#order = query.get("order") === "desc" ? "desc" : "asc";
    const page = Number(query.get("page"));
    this.#page = Number.isSafeInteger(page) && page > 1 ? Math.min(page, MAX_PAGE) : 1;
    this.#cursors = entryState().cursors ?? {};
    this.#showColumns();
    this.#showOrder();
  }

  async #showColumns() {
    if (this.#columns === undefined && this.#chosen.length === 0) return;
    const columns = await this.#loadColumns();
    columns?.set(this.#chosen);
    this.#showOrder();
    for (const row of this.#rows.values()) columns?.fill(row.element, row.device);
  }

  async #loadColumns() {
    // After a failure it is imported again with the next rows.
    const module = await import("./value_columns.js").catch(() => undefined);
    if (module === undefined) return undefined;
    return this.#columns ??= new module.ValueColumns(this.#table, (names) => this.#choose(names));
  }

  async #openColumns() {
    if (/** @type {HTMLDetailsElement} */ (byId("columns")).open) {
      (await this.#loadColumns())?.openChoice(this.#chosen);
    }
  }

  /** @param {readonly string[]} names */
  #choose(names) {
    this.#chosen = names;
    if (this.#sort.startsWith(VALUE_SORT) && !names.includes(this.#sort.slice(VALUE_SORT.length))) {
      [this.#sort, this.#order] = ["id", "asc"];
    }
    this.#showColumns();
    this.#startOver();
  }

  /**
   * Requests this page of the table again.
   *
   * @param {{ announce?: boolean }} [how] whether to announce the result, as the user requested it
   */
  async load({ announce = false } = {}) {
    this.#loading?.abort();
    const loading = this.#loading = new AbortController();
    const query = this.#query();
    query.set("limit", String(ROWS));
    const cursor = this.#cursors[this.#page];
    if (cursor !== undefined) query.set("cursor", cursor);
    else if (this.#page > 1) query.set("offset", String((this.#page - 1) * ROWS));
    try {
      /** @type {DeviceList} */
      const page = await request(`/devices?${query}`, { signal: loading.signal });
      this.#show(page, announce);
    } catch (error) {
      // On other failures the rows stay: the notice shows the cause, and rows are requested again afterwards. An api of
      // another version may refuse the cursor.
      if (!(error instanceof ApiError) || error.status !== 400 || cursor === undefined) return;
      this.#cursors = {};
      this.load({ announce });
    } finally {
      if (this.#loading === loading) this.#loading = undefined;
    }
  }

  /** Requests the rows again, unless a request is in flight. */
  refresh() {
    if (this.#loading === undefined) this.load();
  }

  /** @returns {readonly string[]} the devices shown */
  get deviceIds() {
    return [...this.#rows.keys()];
  }

  /** @param {readonly DeviceRow[]} devices new values; those of devices that are not shown are ignored */
  update(devices) {
    for (const device of devices) {
      const row = this.#rows.get(device.device_id);
      if (row === undefined) continue;
      row.device = device;
      this.#fill(row);
    }
  }

  /** Updates relative times and sparklines; called every second. */
  tick() {
    for (const row of this.#rows.values()) fillTimes(row, this.#options.serverNow());
    this.#sparklines.load(this.deviceIds);
    if (!byId("held").hidden && !this.#isUsed()) this.#release();
  }

  /** The table is no longer in use: shows what was held back. */
  #release() {
    if (byId("held").hidden) return;
    byId("held").hidden = true;
    this.load();
  }

  /**
   * @param {DeviceList} page
   * @param {boolean} announce
   */
  #show({ devices, total, next_cursor }, announce) {
    // The page is beyond the last one, after deletions or by an old address: show the last page.
    const lastPage = Math.max(1, Math.ceil(total / ROWS));
    if (devices.length === 0 && this.#page > lastPage) {
      this.#page = lastPage;
      changeAddress({ page: pageText(lastPage) }, { cursors: this.#cursors });
      return void this.load({ announce });
    }
    const next = this.#page + 1;
    if (next_cursor === null) delete this.#cursors[next];
    else this.#cursors[next] = next_cursor;
    // Rows do not move while the table is in use, unless the user requested others.
    const isSame = devices.map(({ device_id }) => device_id).join("\n") === this.deviceIds.join("\n");
    const isHeld = !announce && !isSame && this.#rows.size > 0 && this.#isUsed();
    byId("held").hidden = !isHeld;
    if (isHeld) this.update(devices);
    else this.#replaceRows(devices);
    const first = (this.#page - 1) * ROWS + 1;
    const position = devices.length === 0
      ? "No devices"
      : `${formatCount(first)}–${formatCount(first + devices.length - 1)} of ${formatCount(total)}`;
    setText(byId("position"), position);
    if (announce) setText(byId("announcement"), `Devices ${position}`);
    byId("none").hidden = total > 0;
    this.#table.hidden = total === 0;
    /** @type {HTMLButtonElement} */ (byId("next")).disabled = next_cursor === null;
    /** @type {HTMLButtonElement} */ (byId("previous")).disabled = this.#page === 1;
  }

  /** @param {readonly DeviceRow[]} devices */
  #replaceRows(devices) {
    const before = this.#rows;
    this.#rows = new Map();
    for (const device of devices) {
      const row = before.get(device.device_id) ?? newRow(device);
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

  /** @param {Row} row */
  #fill(row) {
    fillRow(row, this.#options.serverNow());
    drawSparkline(row, this.#sparklines);
    this.#columns?.fill(row.element, row.device);
  }

  #drawSparklines() {
    for (const row of this.#rows.values()) drawSparkline(row, this.#sparklines);
  }

  /** @param {HTMLElement} header */
  #sortBy({ dataset }) {
    const isSame = dataset.sort === this.#sort;
    this.#order = isSame ? (this.#order === "asc" ? "desc" : "asc") : dataset.sort === "id" ? "asc" : "desc";
    this.#sort = dataset.sort ?? "id";
    this.#showOrder();
    this.#startOver();
  }

  /** @param {readonly string[]} tags */
  #chooseTags(tags) {
    if (tags.length === 0 && this.#tags.length === 0) return;
    this.#tags = tags;
    import("./tag_filter.js").then(({ chooseTags }) => chooseTags(this.#tags), () => {});
  }

  #showOrder() {
    for (const header of this.#headers()) {
      if (header.dataset.sort !== this.#sort) header.removeAttribute("aria-sort");
      else header.setAttribute("aria-sort", this.#order === "asc" ? "ascending" : "descending");
    }
  }

  /** @param {boolean} [push] whether to add a history entry, so that "back" returns to the current state */
  #startOver(push = true) {
    this.#page = 1;
    this.#cursors = {};
    const query = this.#query();
    const names = ["search", "tag", "status", "sort", "order", "columns"];
    const changes = Object.fromEntries(names.map((name) => [name, query.getAll(name)]));
    changeAddress({ ...changes, prefix: "", page: "" }, { push });
    this.load({ announce: true });
  }

  /** @param {number} page */
  #turnTo(page) {
    this.#page = page;
    const near = Object.entries(this.#cursors).slice(-MAX_CURSORS);
    this.#cursors = Object.fromEntries(near);
    changeAddress({ page: pageText(page) }, { push: true, cursors: this.#cursors });
    this.load({ announce: true });
  }

  /** Query parameters that differ from the default: all devices by id. */
  #query() {
    const query = new URLSearchParams();
    const status = checkedValue("status");
    if (this.#search.value !== "") query.set("search", this.#search.value);
    for (const tag of this.#tags) query.append("tag", tag);
    if (status !== "") query.set("status", status);
    if (this.#chosen.length > 0) query.set("columns", columnsText(this.#chosen));
    if (this.#sort !== "id") query.set("sort", this.#sort);
    if (this.#order !== "asc") query.set("order", this.#order);
    return query;
  }

  /** @returns {HTMLElement[]} */
  #headers() {
    return [...this.#table.querySelectorAll("th")].filter(({ dataset }) => dataset.sort !== undefined);
  }
}

/** @param {number} page */
function pageText(page) {
  return page === 1 ? "" : String(page);
}
