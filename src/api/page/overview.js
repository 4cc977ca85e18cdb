/**
 * The fleet: its figures, its chart, and the ingest instances.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { FleetFrame, FleetReport, HistoryPoint, Instance } from "./shapes.ts" */
import { request } from "./api.js";
import { Chart } from "./chart.js";
import { byId, setFigure, setText } from "./dom.js";
import { Silences } from "./events.js";
import { formatCount, formatDuration, formatRate } from "./format.js";

/** The minutes and hours shown are at most this old; seconds come with each frame. */
const HISTORY_REFRESH_MS = 15_000;
const SECONDS_SHOWN = 900, MIN_SECONDS = 120;
/** More of them would only stand between the keyboard and the table. */
const EVENTS_SHOWN = 12;

/** The parts of the page about the whole fleet. */
export class Overview {
  #chart = new Chart(byId("fleet-chart"));
  /** @type {FleetReport["history"] | undefined} */
  #history;
  /** @type {Promise<void> | undefined} */
  #loading;
  #loadedAtMs = 0;
  #events;

  /** @param {{ serverNow: () => number }} options by the api's clock, Unix milliseconds */
  constructor({ serverNow }) {
    this.#events = new Silences({
      list: "fleet-events",
      none: "no-fleet-events",
      limit: EVENTS_SHOWN,
      serverNow,
    });
    this.#events.open(undefined);
    byId("fleet-range").addEventListener("change", () => this.#draw());
    const copy = byId("copy");
    // Only pages from https or this very machine may write to the clipboard.
    copy.hidden = navigator.clipboard === undefined;
    copy.addEventListener("click", async () => {
      const copied = navigator.clipboard.writeText(byId("send-command").textContent ?? "");
      setText(copy, await copied.then(() => "Copied", () => "Not allowed"));
      setTimeout(() => setText(copy, "Copy"), 2_000);
    });
  }

  /** @param {FleetFrame} frame */
  show(frame) {
    const isEmpty = frame.devices === 0;
    byId("empty").hidden = !isEmpty;
    byId("filled").hidden = isEmpty;
    setFigure(byId("online"), formatCount(frame.online));
    setText(byId("online-note"), `of ${formatCount(frame.devices)}`);
    setFigure(byId("offline"), formatCount(frame.offline));
    setText(byId("offline-note"), `silent for over ${formatDuration(frame.offline_after_ms)}`);
    setFigure(byId("rate"), formatRate(frame.rate_10s));
    setText(byId("rate-note"), `${formatRate(frame.rate_1m)} over a minute`);
    setFigure(byId("count"), formatCount(frame.count));
    this.#showInstances(frame);
    if (isEmpty) {
      const target = targetFlag(frame.instances[0]?.ingest_address);
      setText(byId("send-command"), `deno task send${target}`);
      setText(byId("simulate-command"), `deno task simulate${target}`);
      return;
    }
    this.#events.follow(frame.last_event_id);
    if (performance.now() - this.#loadedAtMs > HISTORY_REFRESH_MS) this.load();
    if (this.#append(frame.seconds) && this.#range() === "seconds") this.#draw();
  }

  /** Moves the times on. */
  tick() {
    this.#events.tick();
  }

  /** Reads history and events anew; keeps what is there if that fails, as frames will say why. */
  reload() {
    this.#events.load();
    this.load();
  }

  /** Reads the history anew. */
  load() {
    this.#loading ??= this.#load().finally(() => this.#loading = undefined);
  }

  async #load() {
    this.#loadedAtMs = performance.now();
    /** @type {FleetReport | undefined} */
    const report = await request("/fleet").catch(() => undefined);
    if (report === undefined) return;
    this.#history = report.history;
    this.#draw();
  }

  /**
   * @param {readonly HistoryPoint[]} seconds
   * @returns {boolean} true if there are new ones
   */
  #append(seconds) {
    const history = this.#history;
    const first = seconds[0];
    if (history === undefined || first === undefined) return false;
    const lastBefore = history.seconds.at(-1)?.start_ms ?? 0;
    // Frames were missed: only the api knows what lies between.
    if (first.start_ms > lastBefore + 1000) {
      this.load();
      return false;
    }
    const before = history.seconds.filter((point) => point.start_ms < first.start_ms);
    this.#history = { ...history, seconds: [...before, ...seconds].slice(-SECONDS_SHOWN) };
    return (seconds.at(-1)?.start_ms ?? 0) > lastBefore;
  }

  #draw() {
    const history = this.#history;
    if (history === undefined) return;
    const range = this.#range();
    const stepMs = { seconds: 1000, minutes: 60_000, hours: 3_600_000 }[range];
    this.#chart.draw({
      // The last one is not over: it would always look like a drop.
      points: (range === "seconds" ? sinceFirst(history) : history[range]).slice(0, -1),
      stepMs,
      form: "area",
      value: (packets, ms) => packets * 1000 / ms,
      format: formatRate,
      unit: "packets/s",
    });
  }

  /** @returns {"seconds" | "minutes" | "hours"} */
  #range() {
    const checked = byId("fleet-range").querySelector("input:checked");
    return /** @type {any} */ (checked).value;
  }

  /** @param {FleetFrame} frame */
  #showInstances({ instances, store, now_ms }) {
    byId("ingest").hidden = false;
    const evicts = store.eviction_policy === null ? "" : `, may evict counts (${store.eviction_policy})`;
    setText(byId("store"), `Store: ${store.description}${evicts}`);
    byId("no-ingest").hidden = instances.length > 0;
    const list = byId("instances");
    const template = /** @type {HTMLTemplateElement} */ (byId("instance"));
    while (list.children.length > instances.length) list.lastElementChild?.remove();
    while (list.children.length < instances.length) list.append(template.content.cloneNode(true));
    instances.forEach((instance, i) =>
      showInstance(/** @type {Element} */ (list.children[i]), instance, now_ms)
    );
  }
}

/**
 * Of a fleet that is new, the seconds since it began: a quarter of an hour of nothing would hide them.
 *
 * @param {FleetReport["history"]} history
 * @returns {readonly HistoryPoint[]}
 */
function sinceFirst({ seconds, hours }) {
  const first = seconds.findIndex(({ packets }) => packets > 0);
  const isNew = sumOf(hours) <= sumOf(seconds);
  return isNew && first >= 0
    ? seconds.slice(Math.max(0, Math.min(first, seconds.length - MIN_SECONDS)))
    : seconds;
}

/** @param {readonly HistoryPoint[]} points */
function sumOf(points) {
  return points.reduce((sum, { packets }) => sum + packets, 0);
}

/**
 * What sends packets needs to be told where to, unless that is where it sends by itself.
 *
 * @param {string | undefined} ingestAddress
 * @returns {string}
 */
function targetFlag(ingestAddress) {
  const [, host = "", port = ""] = /^(.*):(\d+)$/.exec(ingestAddress ?? "") ?? [];
  const isEverywhere = host === "0.0.0.0" || host === "[::]";
  const target = `${isEverywhere ? location.hostname : host}:${port}`;
  const isDefault = port === "" || /^(127\.0\.0\.1|\[::1\]|localhost):50051$/.test(target);
  return isDefault ? "" : ` --target ${target}`;
}

/**
 * @param {Element} item
 * @param {Instance} instance
 * @param {number} nowMs
 */
function showInstance(item, instance, nowMs) {
  /** @param {string} selector */
  const find = (selector) => /** @type {Element} */ (item.querySelector(selector));
  setText(find("b"), instance.ingest_address);
  const silentMs = nowMs - instance.reported_ms;
  const silence = silentMs >= 4000 ? `, last heard ${formatDuration(silentMs)} ago` : "";
  setText(find(".instance-name span"), `${instance.host}, process ${instance.pid}${silence}`);
  setText(find("[data-of=rate]"), formatRate(instance.rate));
  setText(find("[data-of=streams]"), formatCount(instance.streams));
  const meter = /** @type {HTMLMeterElement} */ (find("meter"));
  meter.max = instance.queue_max_packets;
  meter.high = instance.queue_max_packets * 0.8;
  meter.optimum = 0;
  meter.value = instance.queue_packets;
  const percent = Math.round(100 * instance.queue_packets / instance.queue_max_packets);
  setText(find("[data-of=queue]"), `${percent} % of ${formatCount(instance.queue_max_packets)}`);
  const rejected = Object.entries(instance.rejected).filter(([, packets]) => packets > 0);
  setText(
    find("[data-of=rejected]"),
    rejected.map(([reason, packets]) =>
      `${formatCount(packets)} ${reason.toLowerCase().replaceAll("_", " ")}`
    )
      .join(", ") || "None",
  );
}
