/**
 * Keeps one stream to the rates of its identity and of its devices.
 *
 * It is paced by backpressure: after a message that used up a rate, the next one is not read before the debt is paid.
 * Packets are rejected only past a bound, which one message can exceed: above it the wait would be longer than a device
 * should stand still. In a stream of several devices, a gateway's, the rate of one device makes none of the others wait:
 * its packets are rejected sooner instead.
 *
 * @module
 */
import { RateMeter, type Rates } from "./rate_meter.ts";

/** Longest wait, in seconds of the rate; packets that would make it longer are rejected. */
export const MAX_WAIT_SECONDS = 10;

/** What a device of a gateway's stream may send above its rate at once, in seconds of the rate. */
export const GATEWAY_CREDIT_SECONDS = 1;

/** A device as its streams share it. */
export interface MeteredDevice {
  /** Made when it first sends a packet in this process. */
  meter: RateMeter | undefined;
}

/** Of one stream. */
export class StreamPacer {
  #device: MeteredDevice | undefined;
  #hasSeveral = false;

  private constructor(
    readonly rates: Rates,
    readonly identity: RateMeter | undefined,
    readonly now: () => number,
  ) {}

  /** Undefined: there is no limit. `identity`: the meter of the stream's identity. */
  static of(rates: Rates, identity: RateMeter | undefined, now: () => number): StreamPacer | undefined {
    const { devicePacketsPerSecond = 0, deviceBytesPerSecond = 0 } = rates;
    const isLimited = identity !== undefined || devicePacketsPerSecond + deviceBytesPerSecond > 0;
    return isLimited ? new StreamPacer(rates, identity, now) : undefined;
  }

  /** Takes a packet with a payload of `bytes` bytes; false: it is rejected. */
  take(device: MeteredDevice, bytes: number): boolean {
    if (device !== this.#device) {
      this.#hasSeveral ||= this.#device !== undefined;
      this.#device = device;
    }
    if (this.identity?.take(bytes, MAX_WAIT_SECONDS) === false) return false;
    const meter = device.meter ??= RateMeter.ofDevice(this.rates, this.now);
    return meter?.take(bytes, this.#hasSeveral ? GATEWAY_CREDIT_SECONDS : MAX_WAIT_SECONDS) !== false;
  }

  /** Time to wait before the next message, ms; 0: none. */
  get waitMs(): number {
    const deviceMs = this.#hasSeveral ? 0 : this.#device?.meter?.waitMs ?? 0;
    return Math.max(this.identity?.waitMs ?? 0, deviceMs);
  }
}
