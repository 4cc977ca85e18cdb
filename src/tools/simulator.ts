/**
 * Simulated devices: each sends temperature and humidity, a random walk, at a rate of its own, and is silent
 * at times. They share a few connections, as devices of gateways do.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import { TelemetryClient, type TelemetryClientError, type TelemetryClientOptions } from "../client/client.ts";
import { formatted, packets } from "./command_line.ts";

/** How many devices, and where they send to. */
export interface SimulatorOptions
  extends Pick<TelemetryClientOptions, "target" | "token" | "tls" | "keepAcked"> {
  /** How many devices. */
  readonly devices: number;
  /** Packets per second and device, on average while it is not silent. */
  readonly ratePerDevice: number;
  /** Prefix of the devices' ids. */
  readonly prefix: string;
  /** Unix milliseconds. */
  readonly now: () => number;
  /** From 0 to below 1. */
  readonly random: () => number;
  /** Called when a connection is open, and with an error when one is lost. */
  readonly onConnection: (error: TelemetryClientError | undefined) => void;
}

/** Totals of all devices so far. */
export interface SimulatorTotals {
  /** Packets sent. */
  readonly sent: number;
  /** Packets that an Ack reports as stored. */
  readonly stored: number;
  /** Packets rejected. */
  readonly rejected: number;
  /** Packets settled whose Ack was lost with a connection. */
  readonly settledUnknown: number;
  /** Packets that the store lost after they were acknowledged, and that were sent again, with another result above. */
  readonly refilled: number;
  /** Packets that the store lost after they were acknowledged, and that were not sent again. */
  readonly lost: number;
  /** Packets not acknowledged. */
  readonly pending: number;
  /** Devices that are silent at the moment. */
  readonly silent: number;
}

/** The totals in a line: the packets sent, and those sent again, are the sum of the others. */
export function totalsText(totals: SimulatorTotals): string {
  const { sent, stored, rejected, settledUnknown, pending, silent, refilled, lost } = totals;
  return `${packets(sent)} sent, ` +
    (refilled === 0 ? "" : `${formatted(refilled)} of them again to a store that had lost them, `) +
    (lost === 0 ? "" : `${formatted(lost)} lost by the store, `) +
    `${formatted(stored)} stored, ${formatted(rejected)} rejected, ` +
    (settledUnknown === 0 ? "" : `${formatted(settledUnknown)} settled without an Ack, `) +
    `${formatted(pending)} not acknowledged; ${formatted(silent)} devices silent`;
}

/** Devices that share one connection. */
const DEVICES_PER_CONNECTION = 2000;

/** Interval of sending the packets that are due. */
const TICK_MS = 50;

/** Rates of devices differ by up to this factor from the average. */
const PACE_SPREAD = 4;

/** One packet in this many is the last before a silence, of so many milliseconds. */
const PACKETS_PER_SILENCE = 200, MIN_SILENCE_MS = 5_000, MAX_SILENCE_MS = 60_000;

interface Device {
  readonly id: string;
  readonly client: TelemetryClient;
  readonly intervalMs: number;
  nextAtMs: number;
  silent: boolean;
  temperature: number;
  humidity: number;
}

/** Running simulated devices. */
export class Simulator {
  readonly #options: SimulatorOptions;
  readonly #clients: readonly TelemetryClient[];
  readonly #devices: readonly Device[];
  readonly #stop = new AbortController();
  readonly #run: Promise<void>;

  private constructor(options: SimulatorOptions, clients: readonly TelemetryClient[]) {
    this.#options = options;
    this.#clients = clients;
    this.#devices = makeDevices(options, clients);
    this.#run = this.#sendUntilStopped();
    this.#run.catch(() => {}); // handled by callers of `finished` or `stop`
  }

  /** Starts the devices; does not wait for connections. Rejects if the target is malformed. */
  static async start(options: SimulatorOptions): Promise<Simulator> {
    const { target, token, tls, keepAcked, onConnection } = options;
    const clients = [];
    for (let count = 0; count < options.devices; count += DEVICES_PER_CONNECTION) {
      clients.push(
        await TelemetryClient.open({
          target,
          ...token === undefined ? {} : { token },
          ...tls === undefined ? {} : { tls },
          ...keepAcked === undefined ? {} : { keepAcked },
          onConnected: () => onConnection(undefined),
          onDisconnected: onConnection,
        }),
      );
    }
    return new Simulator(options, clients);
  }

  /** Rejects if the devices cannot continue: Tally refuses them for good. */
  get finished(): Promise<void> {
    return this.#run;
  }

  /** The totals so far. */
  get totals(): SimulatorTotals {
    const totals = { sent: 0, stored: 0, rejected: 0, settledUnknown: 0, pending: 0, refilled: 0, lost: 0 };
    for (const { totals: client } of this.#clients) {
      totals.sent += client.accepted;
      totals.stored += client.stored;
      totals.rejected += client.rejected;
      totals.settledUnknown += client.settledUnknown;
      totals.pending += client.pending;
      totals.refilled += client.refilled;
      totals.lost += client.lost;
    }
    return { ...totals, silent: this.#devices.filter((device) => device.silent).length };
  }

  /** Stops the devices, and the connections when all is acknowledged or after `timeoutMs`. */
  async stop(timeoutMs: number): Promise<SimulatorTotals> {
    this.#stop.abort();
    const abort = () => Promise.all(this.#clients.map((client) => client.abort()));
    const timer = setTimeout(abort, timeoutMs);
    await Promise.allSettled([this.#run, ...this.#clients.map((client) => client.close())]);
    clearTimeout(timer);
    return this.totals;
  }

  async #sendUntilStopped(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const nowMs = this.#options.now();
      const due = this.#devices.filter((device) => device.nextAtMs <= nowMs);
      // Under backpressure the devices wait, and are late from then on.
      await Promise.all(due.map((device) => this.#send(device, nowMs)));
      await delay(TICK_MS, undefined, { signal: this.#stop.signal }).catch(() => {});
    }
  }

  async #send(device: Device, nowMs: number): Promise<void> {
    const { random } = this.#options;
    device.temperature = walk(device.temperature, 0.3, -20, 50, random);
    device.humidity = walk(device.humidity, 1, 0, 100, random);
    device.silent = random() < 1 / PACKETS_PER_SILENCE;
    device.nextAtMs = nowMs +
      (device.silent
        ? MIN_SILENCE_MS + random() * (MAX_SILENCE_MS - MIN_SILENCE_MS)
        : device.intervalMs * (0.5 + random()));
    const { temperature, humidity } = device;
    const payload = JSON.stringify({ temperature: rounded(temperature), humidity: rounded(humidity) });
    await device.client.send({
      device_id: device.id,
      timestamp: nowMs,
      payload: new TextEncoder().encode(payload),
    });
  }
}

function makeDevices(options: SimulatorOptions, clients: readonly TelemetryClient[]): Device[] {
  const { devices, ratePerDevice, prefix, now, random } = options;
  const digits = String(devices).length;
  return Array.from({ length: devices }, (_, index) => {
    const pace = PACE_SPREAD ** (2 * random() - 1);
    const intervalMs = 1000 / ratePerDevice / pace * MEAN_PACE;
    return {
      id: `${prefix}${String(index + 1).padStart(digits, "0")}`,
      client: clients[index % clients.length]!,
      intervalMs,
      nextAtMs: now() + random() * intervalMs,
      silent: false,
      temperature: 15 + 10 * random(),
      humidity: 40 + 20 * random(),
    };
  });
}

/** Mean of `PACE_SPREAD ** x` for `x` from -1 to 1. */
const MEAN_PACE = (PACE_SPREAD - 1 / PACE_SPREAD) / (2 * Math.log(PACE_SPREAD));

function walk(value: number, step: number, min: number, max: number, random: () => number): number {
  return Math.min(max, Math.max(min, value + step * (2 * random() - 1)));
}

function rounded(value: number): number {
  return Math.round(value * 10) / 10;
}
