/**
 * The page's one live connection: open while the page is seen, opened again when it is lost. A page that is not
 * seen reads the fleet's figures now and then, for its title and icon.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { DeviceRow, FleetFigures, FleetFrame } from "./shapes.ts" */
import { ApiError, request } from "./api.js";

/**
 * - `connecting`: nothing was received yet
 * - `live`
 * - `lost`: the api does not answer
 * - `store-down`: the api answers, its store does not
 *
 * @typedef {"connecting" | "live" | "lost" | "store-down"} ConnectionState
 *
 * @typedef {object} Listener
 * @property {(frame: FleetFrame) => void} onFleet
 * @property {(figures: FleetFigures) => void} onGlance called while the page is not seen
 * @property {(rows: readonly DeviceRow[], removed: readonly string[]) => void} onDevices
 * @property {(state: ConnectionState, message: string) => void} onState called when either changes
 */

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 5_000;
/** A network may go away unnoticed, and a fleet have no news: after this, only connecting anew can tell. */
const SILENCE_MS = 20_000;
const GLANCE_MS = 30_000;

/** An EventSource on `/live` that is opened anew when other devices are watched. */
export class Connection {
  #listener;
  /** @type {readonly string[]} */
  #deviceIds = [];
  /** @type {EventSource | undefined} */
  #source;
  /** The one that will take over from `#source` when it is open. @type {EventSource | undefined} */
  #opening;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retry;
  #retryMs = FIRST_RETRY_MS;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #silence;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #glancing;
  /** @type {ConnectionState} */
  #state = "connecting";
  #message = "";

  /** @param {Listener} listener */
  constructor(listener) {
    this.#listener = listener;
    // A browser opens six connections to a host for all its tabs: one that is not seen takes none.
    document.addEventListener("visibilitychange", () => document.hidden ? this.#rest() : this.#open());
    if (document.hidden) {
      this.#rest();
      this.#glance();
    }
    addEventListener("online", () => document.hidden || this.#open());
  }

  /** @type {ConnectionState} */
  get state() {
    return this.#state;
  }

  /** The reason the api gave, if any. */
  get message() {
    return this.#message;
  }

  /**
   * Receives the fleet's figures, and these devices.
   *
   * @param {readonly string[]} deviceIds at most 200
   */
  watch(deviceIds) {
    const wanted = [...deviceIds].sort();
    const isSame = wanted.length === this.#deviceIds.length &&
      wanted.every((id, i) => id === this.#deviceIds[i]);
    if (isSame && (this.#source ?? this.#opening ?? this.#retry) !== undefined) return;
    this.#deviceIds = wanted;
    if (!document.hidden) this.#open();
  }

  #rest() {
    this.#close();
    this.#glancing = setInterval(() => this.#glance(), GLANCE_MS);
  }

  async #glance() {
    try {
      /** @type {FleetFigures} */
      const figures = await request("/fleet");
      if (!document.hidden) return;
      this.#become("live", "");
      this.#listener.onGlance(figures);
    } catch (error) {
      if (!document.hidden || !(error instanceof ApiError)) return;
      this.#become(error.status === 0 ? "lost" : "store-down", error.status === 0 ? "" : error.message);
    }
  }

  #open() {
    clearTimeout(this.#retry);
    clearInterval(this.#glancing);
    this.#retry = undefined;
    this.#opening?.close();
    const query = this.#deviceIds.map((id) => `devices=${encodeURIComponent(id)}`).join("&");
    const source = new EventSource(query ? `/live?${query}` : "/live");
    this.#opening = source;
    this.#expectMessage();
    source.onopen = () => {
      this.#source?.close();
      this.#source = source;
      this.#opening = undefined;
      this.#retryMs = FIRST_RETRY_MS;
    };
    source.onerror = () => {
      if (source !== this.#source && source !== this.#opening) return;
      this.#lose();
    };
    source.addEventListener("fleet", (event) => {
      /** @type {FleetFrame} */
      const frame = JSON.parse(event.data);
      this.#received(frame.store.ok ? "live" : "store-down", "");
      this.#listener.onFleet(frame);
    });
    source.addEventListener("devices", (event) => {
      this.#expectMessage();
      const { devices, removed } = JSON.parse(event.data);
      this.#listener.onDevices(devices, removed);
    });
    source.addEventListener("store", (event) => {
      const { ok, message } = JSON.parse(event.data);
      this.#received(ok ? "live" : "store-down", message ?? "");
    });
  }

  #close() {
    clearTimeout(this.#retry);
    clearTimeout(this.#silence);
    clearInterval(this.#glancing);
    this.#retry = undefined;
    this.#source?.close();
    this.#opening?.close();
    this.#source = this.#opening = undefined;
  }

  #lose() {
    this.#close();
    this.#become("lost", "");
    // Half of it at random, so that a thousand pages do not come back at once.
    const delayMs = this.#retryMs * (0.5 + Math.random() / 2);
    this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
    this.#retry = setTimeout(() => this.#open(), delayMs);
  }

  /**
   * @param {ConnectionState} state
   * @param {string} message
   */
  #received(state, message) {
    this.#expectMessage();
    this.#become(state, message);
  }

  #expectMessage() {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#opening === undefined ? this.#open() : this.#lose(), SILENCE_MS);
  }

  /**
   * @param {ConnectionState} state
   * @param {string} message
   */
  #become(state, message) {
    if (state === this.#state && message === this.#message) return;
    this.#state = state;
    this.#message = message;
    this.#listener.onState(state, message);
  }
}
