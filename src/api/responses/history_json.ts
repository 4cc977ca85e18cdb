/**
 * Histories of devices as JSON.
 *
 * @module
 */
import type { History, Period as StoredPeriod } from "../../store/history.ts";
import type { Store } from "../../store/store.ts";
import type { DeviceHistories, DeviceHistory, Period } from "../schemas/history.ts";

/** Histories read at once, each some 20 µs of Redis's time, so that they do not delay other readers. */
const HISTORIES_AT_ONCE = 50;

/** A period as JSON. */
export function periodJson({ startMs, packets }: StoredPeriod): Period {
  return { start_ms: startMs, packets };
}

/** A history read at `nowMs`, Unix milliseconds. */
export function historyJson(history: History, nowMs: number): DeviceHistory {
  return {
    until_ms: untilMs(history, nowMs),
    minutes: history.minutes.map(periodJson),
    hours: history.hours.map(periodJson),
  };
}

/** In the order of `deviceIds`, without those that are not known. Rejects as the store does. */
export async function historiesJson(
  store: Pick<Store, "history">,
  deviceIds: readonly string[],
  nowMs: number,
): Promise<DeviceHistories["histories"]> {
  const packetsOf = (periods: readonly StoredPeriod[]) => periods.map(({ packets }) => packets);
  const rows: DeviceHistories["histories"] = [];
  for (let start = 0; start < deviceIds.length; start += HISTORIES_AT_ONCE) {
    const ids = deviceIds.slice(start, start + HISTORIES_AT_ONCE);
    const histories = await Promise.all(ids.map((id) => store.history(id, nowMs)));
    for (const [i, history] of histories.entries()) {
      if (history === undefined) continue;
      const [minutes, hours] = [packetsOf(history.minutes), packetsOf(history.hours)];
      rows.push({ device_id: ids[i]!, until_ms: untilMs(history, nowMs), minutes, hours });
    }
  }
  return rows;
}

/** The end of a history: `nowMs`, or the minute of the last packet where other clocks are ahead of this one. */
function untilMs({ minutes }: History, nowMs: number): number {
  return Math.max(nowMs, minutes.at(-1)?.startMs ?? 0);
}
