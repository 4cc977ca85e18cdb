/**
 * The events of `/live`: the fleet's figures and the devices a client named, as they change.
 *
 * They are states, not a log: an event has what differs from what this client was sent before, so a client that
 * missed some misses nothing. One that connects again is sent all of it first, for rates fade and statuses turn
 * without a packet.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import type { FleetCache } from "../../fleet/fleet_cache.ts";
import type { FleetValues } from "../../fleet/fleet_values.ts";
import { labelsJson } from "../../fleet/label_index.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Store } from "../../store/store.ts";
import type { Reader } from "../http/access.ts";
import { httpStatus } from "../http/http_status.ts";
import { formatEvent, type SseBroadcaster } from "../http/sse_broadcaster.ts";
import type { LiveDevice } from "../schemas/device.ts";
import type { LiveFleet } from "../schemas/fleet.ts";
import { liveDevicesJson } from "./device_json.ts";
import type { FleetReporter } from "./fleet_reporter.ts";

/** A client is sent something at most this often. */
export const TICK_MS = 250;

/** Seconds of the fleet's history in each event: enough to bridge a second and a late tick. */
const SECONDS_SENT = 5;

/** What {@linkcode LiveUpdates} needs. */
export interface LiveUpdatesOptions {
  /** Has the devices. */
  readonly fleet: FleetCache;
  /** Has the fleet's figures. */
  readonly reporter: FleetReporter;
  /** Has the payloads. */
  readonly store: Pick<Store, "payloads" | "latestValues">;
  /** Has the versions of their values. */
  readonly values: FleetValues;
  /** Where the streams are kept. */
  readonly broadcaster: SseBroadcaster;
  /** The time: of packets, and to measure durations. */
  readonly clock: Clock;
}

/** What all clients share of one moment. */
interface Tick {
  readonly startsAtMs: number;
  /** The fleet's event; where the store cannot be read, why. */
  readonly fleet: Promise<
    { readonly text: string; readonly comparable: string } | { readonly failure: string }
  >;
  /** Devices as JSON, read for the first client that needs them. */
  readonly devices: Map<string, Promise<LiveDevice | undefined>>;
}

/** What one client was sent last. */
interface Client {
  readonly deviceIds: readonly string[];
  /** The state of each device, as text to compare. */
  readonly devices: Map<string, string>;
  tick: Tick | undefined;
  fleet: string;
  storeOk: boolean;
}

/** Serves every client from one reading of the store per tick. */
export class LiveUpdates {
  readonly #options: LiveUpdatesOptions;
  readonly #closing = new AbortController();
  #tick: Tick | undefined;

  /** Reads nothing before a client connects. */
  constructor(options: LiveUpdatesOptions) {
    this.#options = options;
  }

  /** A stream of Server-Sent Events for one client; throws where there is no room for it. */
  open(deviceIds: readonly string[], reader: Reader): ReadableStream<Uint8Array> {
    const client: Client = {
      deviceIds: [...new Set(deviceIds)],
      devices: new Map(),
      tick: undefined,
      fleet: "",
      storeOk: true,
    };
    return this.#options.broadcaster.open(async (signal) => {
      let text = "";
      while (text === "" && !signal.aborted) {
        client.tick = this.#tickAfter(client.tick);
        text = await this.#changes(client, client.tick);
      }
      return text;
    }, reader);
  }

  /** Rejects the tick that clients wait for. */
  close(): void {
    this.#closing.abort();
  }

  /** The present tick for a client that has not seen it, or the next one. */
  #tickAfter(seen: Tick | undefined): Tick {
    const nowMs = this.#options.clock.monotonicMs();
    const latest = this.#tick;
    if (latest !== undefined && latest !== seen && nowMs - latest.startsAtMs < TICK_MS) return latest;
    const startsAtMs = latest === undefined ? nowMs : Math.max(nowMs, latest.startsAtMs + TICK_MS);
    return this.#tick = { startsAtMs, fleet: this.#fleetEvent(startsAtMs - nowMs), devices: new Map() };
  }

  async #fleetEvent(waitMs: number): Promise<Awaited<Tick["fleet"]>> {
    const { fleet, reporter } = this.#options;
    await delay(waitMs, undefined, { signal: this.#closing.signal });
    try {
      const { history, ...rest } = await reporter.report();
      const data: LiveFleet = { ...rest, seconds: history.seconds.slice(-SECONDS_SENT) };
      const text = formatEvent("fleet", data, fleet.version);
      // That time has passed is no change to send.
      return { text, comparable: JSON.stringify({ ...data, now_ms: 0 }) };
    } catch (error) {
      return { failure: httpStatus(error).message };
    }
  }

  /** What differs from what the client was sent, as events; empty if nothing does. */
  async #changes(client: Client, tick: Tick): Promise<string> {
    const fleet = await tick.fleet;
    if ("failure" in fleet) return storeEvent(client, false, fleet.failure);
    let text = storeEvent(client, true, null);
    if (fleet.comparable !== client.fleet) text += fleet.text;
    client.fleet = fleet.comparable;
    try {
      return text + await this.#deviceChanges(client, tick);
    } catch (error) {
      return text + storeEvent(client, false, httpStatus(error).message);
    }
  }

  async #deviceChanges(client: Client, tick: Tick): Promise<string> {
    const { fleet, values, clock } = this.#options;
    if (client.deviceIds.length > 0) await values.refresh();
    const nowMs = clock.unixMs();
    const changed: string[] = [];
    const removed: string[] = [];
    const sent = new Map<string, string>();
    for (const deviceId of client.deviceIds) {
      const slot = fleet.index.slotOf(deviceId);
      if (slot !== undefined) {
        const labels = labelsJson(fleet.labels.of(deviceId));
        const view = fleet.index.viewAt(slot, nowMs);
        const comparable = JSON.stringify([view, labels, values.versionAt(slot)]);
        if (comparable === client.devices.get(deviceId)) continue;
        changed.push(deviceId);
        sent.set(deviceId, comparable);
      } else if (client.devices.has(deviceId)) {
        removed.push(deviceId);
      }
    }
    if (changed.length + removed.length === 0) return "";
    const devices = await this.#devices(changed, tick, nowMs);
    // After reading: had it failed, they would be sent with the next tick.
    for (const [deviceId, comparable] of sent) client.devices.set(deviceId, comparable);
    for (const deviceId of removed) client.devices.delete(deviceId);
    return formatEvent("devices", { devices, removed }, fleet.version);
  }

  async #devices(deviceIds: readonly string[], tick: Tick, nowMs: number): Promise<LiveDevice[]> {
    const { fleet, store } = this.#options;
    const missing = deviceIds.filter((deviceId) => !tick.devices.has(deviceId));
    const views = missing.map((deviceId) => fleet.index.viewAt(fleet.index.slotOf(deviceId)!, nowMs));
    const reading = missing.length === 0 ? Promise.resolve([]) : liveDevicesJson(store, fleet.labels, views);
    missing.forEach((deviceId, i) => {
      const device = reading.then((devices) => devices[i]);
      device.catch(() => {}); // Each client that awaits it gets the error.
      tick.devices.set(deviceId, device);
    });
    const devices = await Promise.all(deviceIds.map((deviceId) => tick.devices.get(deviceId)!));
    return devices.filter((device) => device !== undefined);
  }
}

function storeEvent(client: Client, ok: boolean, message: string | null): string {
  if (client.storeOk === ok) return "";
  client.storeOk = ok;
  return formatEvent("store", { ok, message });
}
