/**
 * The live stream: the fleet's figures and the devices a client named, as they change.
 *
 * It sends states, not a log: an event has what differs from what this client was sent before, so a client
 * that missed some misses nothing. One that connects again is sent all of it first, for rates fade and
 * statuses turn without a packet.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import { httpStatus } from "../../protocol/request_error.ts";
import type { Store } from "../../store/store.ts";
import { deviceRows } from "../responses/device_rows.ts";
import { type EventStreams, formatEvent } from "../http/event_streams.ts";
import type { Fleet } from "../../fleet/fleet.ts";
import type { FleetReporter } from "../responses/fleet_reporter.ts";
import type { Device } from "../schemas/device.ts";
import type { LiveFleet } from "../schemas/fleet.ts";

/** A client is sent something at most this often. */
export const TICK_MS = 250;

/** Seconds of the fleet's history in each event: enough to bridge a second and a late tick. */
const SECONDS_SENT = 5;

/** What {@linkcode Live} needs. */
export interface LiveOptions {
  /** Has the devices. */
  readonly fleet: Fleet;
  /** Has the fleet's figures. */
  readonly figures: FleetReporter;
  /** Has the payloads. */
  readonly store: Pick<Store, "payloads">;
  /** Where the streams are kept. */
  readonly streams: EventStreams;
  /** Milliseconds on a clock that never goes back. */
  readonly now: () => number;
  /** Unix milliseconds. */
  readonly unixNow: () => number;
}

/** What all clients share of one moment. */
interface Tick {
  readonly startsAtMs: number;
  /** The fleet's event; where the store cannot be read, why. */
  readonly fleet: Promise<
    { readonly text: string; readonly comparable: string } | { readonly failure: string }
  >;
  /** Rows, read for the first client that needs them. */
  readonly rows: Map<string, Promise<Device | undefined>>;
}

/** What one client was sent last. */
interface Client {
  readonly deviceIds: readonly string[];
  readonly rows: Map<string, string>;
  tick: Tick | undefined;
  fleet: string;
  storeOk: boolean;
}

/** Serves every client from one reading of the store per tick. */
export class Live {
  readonly #options: LiveOptions;
  readonly #closing = new AbortController();
  #tick: Tick | undefined;

  /** Reads nothing before a client connects. */
  constructor(options: LiveOptions) {
    this.#options = options;
  }

  /** A stream of Server-Sent Events for one client; throws where there is no room for it. */
  open(deviceIds: readonly string[]): ReadableStream<Uint8Array> {
    const client: Client = {
      deviceIds: [...new Set(deviceIds)],
      rows: new Map(),
      tick: undefined,
      fleet: "",
      storeOk: true,
    };
    return this.#options.streams.open(async (signal) => {
      let text = "";
      while (text === "" && !signal.aborted) {
        client.tick = this.#tickAfter(client.tick);
        text = await this.#news(client, client.tick);
      }
      return text;
    });
  }

  /** Lets go of the tick that is waited for. */
  close(): void {
    this.#closing.abort();
  }

  /** The present tick for a client that has not seen it, or the next one. */
  #tickAfter(seen: Tick | undefined): Tick {
    const nowMs = this.#options.now();
    const latest = this.#tick;
    if (latest !== undefined && latest !== seen && nowMs - latest.startsAtMs < TICK_MS) return latest;
    const startsAtMs = latest === undefined ? nowMs : Math.max(nowMs, latest.startsAtMs + TICK_MS);
    return this.#tick = { startsAtMs, fleet: this.#fleetEvent(startsAtMs - nowMs), rows: new Map() };
  }

  async #fleetEvent(waitMs: number): Promise<Awaited<Tick["fleet"]>> {
    const { fleet, figures } = this.#options;
    await delay(waitMs, undefined, { signal: this.#closing.signal });
    try {
      const { history, ...rest } = await figures.current();
      const data: LiveFleet = { ...rest, seconds: history.seconds.slice(-SECONDS_SENT) };
      const text = formatEvent("fleet", data, fleet.version);
      // The clock alone is no news.
      return { text, comparable: JSON.stringify({ ...data, now_ms: 0 }) };
    } catch (error) {
      return { failure: httpStatus(error).message };
    }
  }

  /** What differs from what the client was sent, as events; empty if nothing does. */
  async #news(client: Client, tick: Tick): Promise<string> {
    const fleet = await tick.fleet;
    if ("failure" in fleet) return storeEvent(client, false, fleet.failure);
    let text = storeEvent(client, true, null);
    if (fleet.comparable !== client.fleet) text += fleet.text;
    client.fleet = fleet.comparable;
    try {
      return text + await this.#deviceNews(client, tick);
    } catch (error) {
      return text + storeEvent(client, false, httpStatus(error).message);
    }
  }

  async #deviceNews(client: Client, tick: Tick): Promise<string> {
    const { fleet, unixNow } = this.#options;
    const nowMs = unixNow();
    const changed: string[] = [];
    const removed: string[] = [];
    const sent = new Map<string, string>();
    for (const deviceId of client.deviceIds) {
      const slot = fleet.index.slotOf(deviceId);
      if (slot !== undefined) {
        const comparable = JSON.stringify(fleet.index.viewAt(slot, nowMs));
        if (comparable === client.rows.get(deviceId)) continue;
        changed.push(deviceId);
        sent.set(deviceId, comparable);
      } else if (client.rows.has(deviceId)) {
        removed.push(deviceId);
      }
    }
    if (changed.length + removed.length === 0) return "";
    const rows = await this.#rows(changed, tick, nowMs);
    // Only now: had reading failed, they would be sent with the next tick.
    for (const [deviceId, comparable] of sent) client.rows.set(deviceId, comparable);
    for (const deviceId of removed) client.rows.delete(deviceId);
    return formatEvent("devices", { devices: rows, removed }, fleet.version);
  }

  async #rows(deviceIds: readonly string[], tick: Tick, nowMs: number): Promise<Device[]> {
    const { fleet, store } = this.#options;
    const missing = deviceIds.filter((deviceId) => !tick.rows.has(deviceId));
    const views = missing.map((deviceId) => fleet.index.viewAt(fleet.index.slotOf(deviceId)!, nowMs));
    const reading = deviceRows(store, views);
    missing.forEach((deviceId, i) => {
      const row = reading.then((rows) => rows[i]);
      row.catch(() => {}); // Whoever waits for it is told.
      tick.rows.set(deviceId, row);
    });
    const rows = await Promise.all(deviceIds.map((deviceId) => tick.rows.get(deviceId)!));
    return rows.filter((row) => row !== undefined);
  }
}

function storeEvent(client: Client, ok: boolean, message: string | null): string {
  if (client.storeOk === ok) return "";
  client.storeOk = ok;
  return formatEvent("store", { ok, message });
}
