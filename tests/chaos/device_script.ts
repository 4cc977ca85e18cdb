/**
 * What a device sends: a function of its name and the packet's number, so that it can be sent again, and what must be
 * counted is known.
 *
 * @module
 */
import type { Packet } from "../../src/protocol/messages.ts";

/** Devices that one client sends packets of. */
const DEVICES = 5;

/** One packet in so many breaks a rule and must be rejected. */
const INVALID_EVERY = 97;

/** Now: a clock that is some days late would take it for the future. Packet number n is n milliseconds later. */
const FIRST_TIMESTAMP_MS = Date.now();

/** Packet number `index` of the client called `name`. */
export function scriptedPacket(name: string, index: number): Packet {
  const valid = isValid(index);
  return {
    device_id: valid || index % 2 === 0 ? deviceOf(name, index) : "",
    timestamp: valid || index % 2 === 1 ? FIRST_TIMESTAMP_MS + index : -1,
    // Those above 64 bytes are kept apart from their device's record.
    payload: new Uint8Array(index % 83),
  };
}

/** What one device's packets come to. */
export interface ScriptedDevice {
  packets: number;
  /** Timestamp of the last of them, which is the greatest. */
  timestampMs: number;
}

/** What the packets from number 0 to `end`, exclusive, come to, or those of them that `isOne` picks; by device id. */
export function scriptedDevices(
  name: string,
  end: number,
  isOne = (_index: number, _deviceId: string) => true,
): Map<string, ScriptedDevice> {
  const devices = new Map<string, ScriptedDevice>();
  for (let index = 0; index < end; index++) {
    if (!isValid(index)) continue;
    const id = deviceOf(name, index);
    if (!isOne(index, id)) continue;
    const device = devices.get(id) ?? { packets: 0, timestampMs: 0 };
    device.packets++;
    device.timestampMs = FIRST_TIMESTAMP_MS + index;
    devices.set(id, device);
  }
  return devices;
}

/** How many of the packets from number 0 to `end`, exclusive, must be rejected. */
export function scriptedRejections(end: number): number {
  return Math.floor(end / INVALID_EVERY);
}

function isValid(index: number): boolean {
  return index % INVALID_EVERY !== INVALID_EVERY - 1;
}

function deviceOf(name: string, index: number): string {
  return `${name}-${index * 7 % DEVICES}`;
}
