/**
 * Batches in few words, and what is read back.
 *
 * @module
 */
import type { DeviceCount } from "../../src/store/devices.ts";
import type { Batch, DeviceDelta, SessionAdvance } from "../../src/store/packets.ts";
import type { Store } from "../../src/store/store.ts";

/** The time of every test. */
export const now = 1_700_000_000_000;

/** A batch of producer "p". */
export function batch(
  sequence: number,
  { devices = [], sessions = [] }: {
    devices?: readonly DeviceDelta[];
    sessions?: readonly SessionAdvance[];
  },
): Batch {
  return { producer: "p", sequence, previous: sequence - 1, receivedAtMs: now, devices, sessions };
}

/** What a batch adds to one device. */
export function delta(
  deviceId: string,
  packets: number,
  timestampMs = 1000,
  payload = "payload",
): DeviceDelta {
  return { deviceId, packets, timestampMs, payload: bytes(payload) };
}

/** How far a batch moves one session. */
export function advance(session: string, epoch: number, from: number, to: number): SessionAdvance {
  return { session, epoch, from, to };
}

/** Every device's count. */
export async function countsOf(store: Store): Promise<Record<string, number>> {
  const counts = (await pagesOf(store)).flat().map(({ deviceId, count }) => [deviceId, count] as const);
  return Object.fromEntries(counts.sort(([a], [b]) => a < b ? -1 : 1));
}

/** Every page of counts. */
export function pagesOf(store: Store): Promise<(readonly DeviceCount[])[]> {
  return Array.fromAsync(store.scan());
}

/** The UTF-8 of a text. */
export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** The store, whose batches get a numbering of their devices, as those of ingest have one. */
export function numbered(store: Store): Store {
  const numbering = new Map<string, number>();
  const withNumber = (delta: DeviceDelta): DeviceDelta => {
    const device = numbering.get(delta.deviceId) ?? numbering.size;
    numbering.set(delta.deviceId, device);
    return { ...delta, device };
  };
  return Object.assign(Object.create(store), {
    apply: (batch: Parameters<Store["apply"]>[0]) =>
      store.apply({ ...batch, numbering, devices: batch.devices.map(withNumber) }),
  });
}
