/**
 * The page's one live connection: open while the page is visible, reopened when it is lost. A hidden page polls the
 * fleet's figures for its title and icon.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { DeviceDetail, FleetFigures, FleetFrame } from "./shapes.ts" */
import { ApiError, request } from "./api.js";
import { EventReader } from "./event_reader.js";

/**
 * - `connecting`: nothing was received yet
 * - `live`
 * - `lost`: the api cannot be reached
 * - `store-down`: the api can be reached, but not its store
 * - `locked`: the api requires another token; the page is loaded anew with it
 *
 * @typedef {"connecting" | "live" | "lost" | "store-down" | "locked"} ConnectionState
 *
 * @typedef {object} Listener
 * @property {(frame: FleetFrame) => void} onFleet
 * @property {(figures: FleetFigures) => void} onPoll called while the page is hidden
 * @property {(rows: readonly DeviceDetail[], removed: readonly string[]) => void} onDevices
 * @property {(state: ConnectionState, message: string) => void} onState called when either changes
 */

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 5_000;
/** A lost network and a fleet without changes look the same: after this time without a message, connect again. */
const IDLE_TIMEOUT_MS = 20_000;
const POLL_MS = 30_000;

/** A stream of `/live`, reopened when other devices are watched. */
export class Connection {
  #listener;
  /** @type {readonly string[]} */
  #deviceIds = [];
  /** @type {EventReader | undefined} */
  #source;
  /** Replaces `#source` when it is open. @type {EventReader | undefined} */
  #opening;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retry;
  #retryMs = FIRST_RETRY_MS;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #idleTimeout;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #polling;
  /** @type {ConnectionState} */
  #state = "connecting";
  #message = "";

  /** @param {Listener} listener */
  constructor(listener) {
    this.#listener = listener;
    // A browser opens six connections to a host for all its tabs: a hidden one must not use one of them.
    document.addEventListener("visibilitychange", () => document.hidden ? this.#pause() : this.#open());
    if (document.hidden) {
      this.#pause();
      this.#poll();
    }
    addEventListener("online", () => document.hidden || this.#open());
  }

  /** @type {ConnectionState} */
  get state() {
    return this.#state;
  }

  /** The reason that the api sent with the state, or "". */
  get message() {
    return this.#message;
  }

  /**
   * Requests frames of these devices, beside those of the fleet.
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

  #pause() {
    this.#close();
    this.#polling = setInterval(() => this.#poll(), POLL_MS);
  }

  async #poll() {
    try {
      /** @type {FleetFigures} */
      const figures = await request("/fleet");
      if (!document.hidden) return;
      this.#setState("live", "");
      this.#listener.onPoll(figures);
    } catch (error) {
      if (!document.hidden || !(error instanceof ApiError)) return;
      if (error.status === 401) this.#lock();
      else {this.#setState(
          error.status === 0 ? "lost" : "store-down",
          error.status === 0 ? "" : error.message,
        );}
    }
  }

  #open() {
    clearTimeout(this.#retry);
    clearInterval(this.#polling);
    this.#retry = undefined;
    this.#opening?.close();
    const query = this.#deviceIds.map((id) => `devices=${encodeURIComponent(id)}`).join("&");
    const source = this.#opening = new EventReader(query ? `/live?${query}` : "/live", {
      onOpen: () => {
        this.#source?.close();
        this.#source = source;
        this.#opening = undefined;
        this.#retryMs = FIRST_RETRY_MS;
      },
      onEnd: ({ status }) => {
        if (source === this.#source || source === this.#opening) status === 401 ? this.#lock() : this.#lose();
      },
      onEvent: (name, data) => this.#onEvent(name, data),
    });
    this.#expectMessage();
  }

  /**
   * @param {string} name
   * @param {any} data
   */
  #onEvent(name, data) {
    if (name === "fleet") {
      /** @type {FleetFrame} */
      const frame = data;
      this.#received(frame.store.ok ? "live" : "store-down", "");
      this.#listener.onFleet(frame);
    } else if (name === "devices") {
      this.#expectMessage();
      this.#listener.onDevices(data.devices, data.removed);
    } else if (name === "store") this.#received(data.ok ? "live" : "store-down", data.message ?? "");
  }

  #close() {
    clearTimeout(this.#retry);
    clearTimeout(this.#idleTimeout);
    clearInterval(this.#polling);
    this.#retry = undefined;
    this.#source?.close();
    this.#opening?.close();
    this.#source = this.#opening = undefined;
  }

  #lock() {
    this.#close();
    this.#setState("locked", "");
  }

  #lose() {
    this.#close();
    this.#setState("lost", "");
    // Half of it at random, so that many pages do not reconnect at once.
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
    this.#setState(state, message);
  }

  #expectMessage() {
    clearTimeout(this.#idleTimeout);
    this.#idleTimeout = setTimeout(
      () => this.#opening === undefined ? this.#open() : this.#lose(),
      IDLE_TIMEOUT_MS,
    );
  }

  /**
   * @param {ConnectionState} state
   * @param {string} message
   */
  #setState(state, message) {
    if (state === this.#state && message === this.#message) return;
    this.#state = state;
    this.#message = message;
    this.#listener.onState(state, message);
  }
}
