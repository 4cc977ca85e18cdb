/**
 * The view of the whole fleet: figures, chart, latest events and ingest instances.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />
/** @import { Point } from "./chart_scale.js" */
/** @import { FleetEvents } from "./events.js" */
/** @import { FleetFrame, FleetReport, HistoryPoint, Instance } from "./shapes.ts" */
import { changeAddress, readAddress } from "./address.js";
import { request } from "./api.js";
import { Chart } from "./chart.js";
import { joinPackets } from "./chart_scale.js";
import { byId, check, checkedValue, setFigure, setText } from "./dom.js";
import { EventList } from "./event_list.js";
import { formatCount, formatDuration, formatRate, formatShare } from "./format.js";

/** Minutes and hours are requested again at this interval; seconds are part of each frame. */
const HISTORY_REFRESH_MS = 15_000;
const SECONDS_SHOWN = 900;
/** More would be in the way between the keyboard and the table. */
const EVENTS_SHOWN = 12;
/** Until a period is this old, its rate is that of the seconds before: one packet would be a peak. */
const MIN_RUNNING_MS = { minutes: 10_000, hours: 60_000 };
/** The chart of a new fleet spans at least so many seconds. */
const MIN_SECONDS = 120;
const STEPS_MS = { seconds: 1000, minutes: 60_000, hours: 3_600_000 };

/** The view at `/`, except its table of devices. */
export class Overview {
  #chart = new Chart(byId("fleet-chart"));
  /** From one response. @type {FleetReport["history"] | undefined} */
  #history;
  /** Seconds of the history, and those of later frames. @type {readonly HistoryPoint[]} */
  #seconds = [];
  /** @type {Promise<void> | undefined} */
  #loading;
  #loadedAtMs = 0;
  #events;
  #source;

  /** @param {{ serverNow: () => number, source: FleetEvents }} options serverNow: Unix milliseconds by the api's clock */
  constructor({ serverNow, source }) {
    this.#source = source;
    this.#events = new EventList({
      list: "fleet-events",
      none: "no-fleet-events",
      held: "fleet-events-held",
      isFleet: true,
      serverNow,
    });
    byId("fleet-range").addEventListener("change", () => {
      const range = this.#range();
      changeAddress({ range: range === "seconds" ? "" : range }, { push: true });
      this.#draw();
    });
  }

  /** Sets the chart's range from the address bar. */
  readAddress() {
    check("fleet-range", readAddress().get("range") ?? "");
    this.#draw();
    this.showEvents();
  }

  /** Shows the loaded events. */
  showEvents() {
    if (byId("overview").hidden || !this.#source.isLoaded) return;
    const { events, hasOlder } = this.#source;
    const entries = this.#events.show(events, EVENTS_SHOWN);
    // The newest events of a large outage are one entry: counting its devices needs older events.
    if (hasOlder && entries <= EVENTS_SHOWN) this.#source.loadOlder();
  }

  /** @param {FleetFrame} frame */
  show(frame) {
    const isEmpty = frame.devices === 0;
    byId("empty").hidden = !isEmpty;
    byId("filled").hidden = isEmpty;
    setFigure(byId("online"), formatCount(frame.online));
    const share = isEmpty
      ? ""
      : `${formatShare(frame.online, frame.devices)} of ${formatCount(frame.devices)}`;
    setText(byId("online-note"), share);
    setFigure(byId("offline"), formatCount(frame.offline));
    setText(byId("offline-note"), `no packet for over ${formatDuration(frame.offline_after_ms)}`);
    setFigure(byId("rate"), formatRate(frame.rate_10s));
    setText(byId("rate-note"), `${formatRate(frame.rate_1m)} over a minute`);
    setFigure(byId("count"), formatCount(frame.count));
    this.#showInstances(frame);
    if (isEmpty) {
      const target = targetFlag(frame.instances[0]?.ingest_address);
      setText(byId("send-command"), `deno task send${target}`);
      byId("copy").dataset.copy = `deno task send${target}`;
      setText(byId("simulate-command"), `deno task simulate${target}`);
      return;
    }
    if (performance.now() - this.#loadedAtMs > HISTORY_REFRESH_MS) this.load();
    if (this.#append(frame.seconds) && this.#range() === "seconds") this.#draw();
  }

  /** Updates relative times; called every second. */
  tick() {
    this.#events.tick();
  }

  /** Requests the history again; on failure the chart stays, and the connection's state shows the cause. */
  load() {
    this.#loading ??= this.#load().finally(() => this.#loading = undefined);
  }

  async #load() {
    this.#loadedAtMs = performance.now();
    /** @type {FleetReport | undefined} */
    const report = await request("/fleet").catch(() => undefined);
    if (report === undefined) return;
    this.#history = report.history;
    this.#seconds = report.history.seconds;
    this.#draw();
  }

  /**
   * @param {readonly HistoryPoint[]} seconds
   * @returns {boolean} whether some of them are new
   */
  #append(seconds) {
    const first = seconds[0];
    if (this.#history === undefined || first === undefined) return false;
    const lastBefore = this.#seconds.at(-1)?.start_ms ?? 0;
    // Frames were missed: the seconds between have to be requested.
    if (first.start_ms > lastBefore + 1000) {
      this.load();
      return false;
    }
    const before = this.#seconds.filter((point) => point.start_ms < first.start_ms);
    this.#seconds = [...before, ...seconds].slice(-SECONDS_SHOWN);
    return (seconds.at(-1)?.start_ms ?? 0) > lastBefore;
  }

  #draw() {
    const history = this.#history;
    if (history === undefined) return;
    const range = this.#range();
    this.#chart.draw({
      points: fleetPoints(range === "seconds" ? { ...history, seconds: [...this.#seconds] } : history, range),
      stepMs: STEPS_MS[range],
      form: "area",
      value: rateOf,
      join: joinPackets,
      format: (rate) => `${formatRate(rate)} packets/s`,
      read: (point, stepMs) => `${formatRate(rateOf(point, stepMs))} packets/s`,
    });
  }

  /** @returns {"seconds" | "minutes" | "hours"} */
  #range() {
    return /** @type {any} */ (checkedValue("fleet-range"));
  }

  /** @param {FleetFrame} frame */
  #showInstances({ instances, store, tags, now_ms }) {
    byId("ingest").hidden = false;
    // Most stores have none.
    if (tags > 0 || !byId("groups").hidden) {
      import("./groups.js").then(({ followTags }) => followTags(), () => {});
    }
    if (store.shards.length > 0 || !byId("shards").hidden) {
      import("./shards.js").then(({ showShards }) => showShards({ store, now_ms }), () => {});
    }
    const evicts = store.eviction_policy === null ? "" : `, may evict counts (${store.eviction_policy})`;
    const isLate = store.counts_late_ms >= 1_000;
    const late = isLate ? `, counts are ${formatDuration(store.counts_late_ms)} late` : "";
    setText(byId("store"), `Store: ${store.description}${evicts}${late}`);
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
 * @param {Point} point
 * @param {number} stepMs
 */
function rateOf({ packets = 0, ms }, stepMs) {
  return packets * 1000 / (ms ?? stepMs);
}

/**
 * Points of the chart: packets per period, the running one as a rate over the time that has passed.
 *
 * @param {FleetReport["history"]} history of one response
 * @param {"seconds" | "minutes" | "hours"} range
 * @returns {readonly Point[]} oldest first
 */
function fleetPoints(history, range) {
  // Without the current second: its figure is up to a second old, and not complete.
  if (range === "seconds") return sinceFirst(history).slice(0, -1);
  const periods = history[range];
  const running = runningPeriod(history, range);
  return running === undefined ? periods.slice(0, -1) : [...periods.slice(0, -1), running];
}

/**
 * @param {FleetReport["history"]} history
 * @param {"minutes" | "hours"} range
 * @returns {Point | undefined} undefined in the fleet's first second
 */
function runningPeriod({ seconds, ...history }, range) {
  const period = history[range].at(-1);
  if (period === undefined) return undefined;
  const { start_ms, packets } = period;
  const passedMs = history.until_ms - start_ms;
  if (passedMs >= MIN_RUNNING_MS[range]) return { start_ms, packets, ms: passedMs, isRunning: true };
  const first = isNew({ seconds, hours: history.hours })
    ? seconds.findIndex(({ packets }) => packets > 0)
    : 0;
  const recent = seconds.slice(Math.max(0, first), -1).slice(-MIN_RUNNING_MS[range] / 1000);
  if (recent.length === 0) return undefined;
  return { start_ms, packets: sumOf(recent), ms: recent.length * 1000, isRunning: true };
}

/**
 * The seconds to show. Of a new fleet, those since its first packet: in an empty quarter of an hour they would be too
 * few to see.
 *
 * @param {FleetReport["history"]} history
 * @returns {readonly HistoryPoint[]}
 */
function sinceFirst({ seconds, hours }) {
  const first = seconds.findIndex(({ packets }) => packets > 0);
  return isNew({ seconds, hours }) && first >= 0
    ? seconds.slice(Math.max(0, Math.min(first, seconds.length - MIN_SECONDS)))
    : seconds;
}

/** @param {Pick<FleetReport["history"], "seconds" | "hours">} history */
function isNew({ seconds, hours }) {
  return sumOf(hours) <= sumOf(seconds);
}

/** @param {readonly HistoryPoint[]} points */
function sumOf(points) {
  return points.reduce((sum, { packets }) => sum + packets, 0);
}

/**
 * The flag for programs that send packets; empty when the ingest has their default address.
 *
 * @param {string | undefined} ingestAddress
 * @returns {string}
 */
function targetFlag(ingestAddress) {
  const [, host = "", port = ""] = /^(.*):(\d+)$/.exec(ingestAddress ?? "") ?? [];
  const isWildcard = host === "0.0.0.0" || host === "[::]";
  const target = `${isWildcard ? location.hostname : host}:${port}`;
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
  const reportAgeMs = nowMs - instance.reported_ms;
  const age = reportAgeMs >= 4000 ? `, last report ${formatDuration(reportAgeMs)} ago` : "";
  setText(find(".instance-name span"), `${instance.host}, process ${instance.pid}${age}`);
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
