/**
 * How many devices a batch may add: the same as `readLimits()` and `refuseDevices()` of `apply.lua`.
 *
 * @module
 */
import { HOUR_MS, MINUTE_MS } from "../model/periods.ts";
import type { DeviceDelta, DeviceLimits, RefusedDevice } from "../packets.ts";
import type { Database } from "./database.ts";

interface TotalsRow {
  readonly devices: number;
  readonly minute: number;
  readonly newDevices: number;
}

/** The room for new devices of one batch. */
export interface DeviceRoom {
  /** Takes room for one device; false: there is none. */
  take(): boolean;
  /** Writes how many were added. */
  close(): void;
  /** What is kept of the devices that are not among `added`. */
  refusal(devices: readonly DeviceDelta[], added: ReadonlySet<DeviceDelta>): string;
}

/** Returns the function that reads the room; call that in the batch's transaction, before devices are added. */
export function deviceRooms(database: Database): (limits: DeviceLimits, receivedAtMs: number) => DeviceRoom {
  const statements = database.prepare({
    read: "SELECT devices, minute, new_devices AS newDevices FROM totals",
    write: "UPDATE totals SET minute = ?, new_devices = ?",
  });
  return ({ maxDevices, maxNewPerMinute }, receivedAtMs) => {
    const { devices: total, minute, newDevices } = statements.read.get() as unknown as TotalsRow;
    const batchMinute = Math.floor(receivedAtMs / MINUTE_MS);
    // A batch may come later than one of the next minute. One far ahead was written before the clock was set back.
    const isCurrent = minute >= batchMinute && minute <= batchMinute + HOUR_MS / MINUTE_MS;
    const before = isCurrent ? newDevices : 0;
    const inAll = maxDevices - total, inMinute = maxNewPerMinute - before;
    const limit: keyof DeviceLimits = inAll <= inMinute ? "maxDevices" : "maxNewPerMinute";
    const room = Math.min(inAll, inMinute);
    let taken = 0;
    return {
      take: () => taken < room && ++taken > 0,
      close: () => {
        if (taken > 0) statements.write.run(isCurrent ? minute : batchMinute, before + taken);
      },
      refusal: (devices, added) =>
        [limit, ...devices.flatMap((device, i) => added.has(device) ? [] : [i])].join(" "),
    };
  };
}

/** The devices that were refused of a producer's batch, as `refused` has them. */
export function refusedBefore(refused: string, devices: readonly DeviceDelta[]): RefusedDevice[] {
  const [limit, ...indexes] = refused.split(" ");
  return indexes.map((index) => ({
    kind: "refused",
    deviceId: devices[Number(index)]!.deviceId,
    limit: limit as keyof DeviceLimits,
  }));
}
