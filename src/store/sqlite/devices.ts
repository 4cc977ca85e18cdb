/**
 * Devices in a SQLite file.
 *
 * @module
 */
import type { DeviceState, DeviceStore, DeviceSummary, PayloadPreview } from "../devices.ts";
import type { ForeignCounts } from "../model/foreign_counts.ts";
import type { ChangeList } from "./changes.ts";
import type { Database } from "./database.ts";
import type { RemoveLabels } from "./labels.ts";
import { unixNowMs } from "./migrations.ts";
import { countColumn, lagSql } from "./records.ts";
import type { ValueTables } from "./values.ts";

/** Devices read in one statement: none stays open between pages, so the log can be checkpointed. */
const PAGE_DEVICES = 1000;

/** All pages. `read`: the page after this device, or the first one. */
export async function* pages(
  read: (after?: string) => Promise<readonly DeviceSummary[]>,
): AsyncGenerator<readonly DeviceSummary[]> {
  let page = await read();
  while (page.length > 0) {
    yield page;
    page = page.length < PAGE_DEVICES ? [] : await read(page.at(-1)!.deviceId);
  }
}

/** What the threads call in place of `scan`, which cannot cross between them. */
export interface DevicePages {
  /** The page after this device, or the first one. */
  page(after?: string): Promise<readonly DeviceSummary[]>;
}

const summaries =
  `SELECT device_id, ${countColumn}, first_seen_ms, last_seen_ms, timestamp_ms, online FROM devices`;
const onePage = `ORDER BY device_id LIMIT ${PAGE_DEVICES}`;

const queriesOfManyRows = {
  firstPage: `${summaries} ${onePage}`,
  nextPage: `${summaries} WHERE device_id > ? ${onePage}`,
  summaries: `${summaries} WHERE device_id IN (SELECT value FROM json_each(?))`,
  payloads: `
    SELECT device_id, coalesce(substr(payload, 1, ?), x''), length(payload)
    FROM devices WHERE device_id IN (SELECT value FROM json_each(?))`,
};

const queries = {
  read: `
    SELECT device_id AS deviceId, ${countColumn} AS count, first_seen_ms AS firstSeenMs,
      last_seen_ms AS lastSeenMs, timestamp_ms AS timestampMs, online, payload
    FROM devices WHERE device_id = ?`,
  readRemoved: "SELECT packets FROM fleet_history WHERE period_ms = 0",
};

const removalQueries = {
  // A period of no length: outside of every history, and never expired. A value that is no count was never counted.
  addToRemoved: `
    INSERT INTO fleet_history
    SELECT 0, 0, count FROM devices
    WHERE device_id = ? AND count BETWEEN 0 AND ${Number.MAX_SAFE_INTEGER}
    ON CONFLICT DO UPDATE SET packets = packets + excluded.packets`,
  addRemoved: `
    INSERT INTO fleet_history VALUES (0, 0, ?)
    ON CONFLICT DO UPDATE SET packets = packets + excluded.packets`,
  remove: "DELETE FROM devices WHERE device_id = ?",
  removeSetAside: "DELETE FROM set_aside WHERE device_id = ?",
  unseen: `
    SELECT device_id AS deviceId FROM devices
    WHERE device_id IN (SELECT value FROM json_each(?)) AND last_seen_ms > 0
      AND last_seen_ms < ? - ${lagSql(unixNowMs)}`,
};

/** What devices in a SQLite file go with. */
export interface DeviceParts {
  /** Which devices changed. */
  readonly changes: ChangeList;
  /** Receives counts of other programs that are none; their devices are left out. */
  readonly foreign: ForeignCounts;
  /** Removes a device's labels, in the caller's transaction. */
  readonly removeLabels: RemoveLabels;
  /** Removes a device's values. */
  readonly values: ValueTables;
}

/** Reads and removes devices. */
export function sqliteDevices(
  database: Database,
  { changes, foreign, removeLabels, values }: DeviceParts,
): DeviceStore & DevicePages & Pick<Removals, "addRemoved"> {
  const arrays = database.prepareArrays(queriesOfManyRows), statements = database.prepare(queries);
  const toSummaries = (rows: readonly unknown[]) =>
    readSummaries(rows, (deviceId, value) => foreign.found(deviceId, value));
  const page = (after?: string) =>
    database.read(
      "read the devices from",
      () => toSummaries(after === undefined ? arrays.firstPage.all() : arrays.nextPage.all(after)),
    );

  return {
    page,
    scan: () => pages(page),
    changes: (since) => changes.since(since),

    summaries: (deviceIds) =>
      database.read(
        `read ${deviceIds.length} devices from`,
        () => toSummaries(arrays.summaries.all(JSON.stringify(deviceIds))),
      ),

    device: (deviceId) =>
      database.read(`read device ${deviceId} from`, () => {
        const row = statements.read.get(deviceId);
        if (row === undefined) return undefined;
        if (typeof row.count !== "number") {
          foreign.found(deviceId, String(row.count));
          return undefined;
        }
        return { ...row as unknown as DeviceState, online: row.online === 1 };
      }),

    payloads: (deviceIds, maxBytes) =>
      database.read(
        `read the payloads of ${deviceIds.length} devices from`,
        () => readPreviews(arrays.payloads.all(maxBytes, JSON.stringify(deviceIds))),
      ),

    removedPackets: () =>
      database.read("read the packets of removed devices from", () => {
        const row = statements.readRemoved.get() as { packets: number } | undefined;
        return row?.packets ?? 0;
      }),

    ...removals(database, { changes, removeLabels, values }),
  };
}

/** Removes devices, and counts what was counted of them. */
export interface Removals extends Pick<DeviceStore, "remove" | "removeUnseen"> {
  /** Counts packets as those of removed devices, in the caller's transaction. */
  addRemoved(packets: number): void;
}

/** Deletes devices, and adds up what was counted of them. */
function removals(
  database: Database,
  { changes, removeLabels, values }: Omit<DeviceParts, "foreign">,
): Removals {
  const statements = database.prepare(removalQueries);
  const removeOne = (deviceId: string): boolean => {
    statements.addToRemoved.run(deviceId);
    statements.removeSetAside.run(deviceId);
    return statements.remove.run(deviceId).changes === 1;
  };

  return {
    addRemoved: (packets) => void statements.addRemoved.run(packets),

    remove: (deviceId) =>
      database.write(`remove device ${deviceId} from`, () => {
        const existed = removeOne(deviceId), hadLabels = removeLabels([deviceId]);
        if (existed) {
          changes.add([deviceId]);
          values.remove([deviceId]);
        }
        return existed || hadLabels;
      }),

    removeUnseen: (deviceIds, lastSeenBeforeMs) =>
      database.write(`remove ${deviceIds.length} devices from`, () => {
        const rows = statements.unseen.all(JSON.stringify(deviceIds), lastSeenBeforeMs);
        const unseen = (rows as { deviceId: string }[]).map(({ deviceId }) => deviceId);
        for (const deviceId of unseen) removeOne(deviceId);
        removeLabels(unseen);
        if (unseen.length > 0) {
          changes.add(unseen);
          values.remove(unseen);
        }
        return unseen.length;
      }),
  };
}

function readSummaries(
  rows: readonly unknown[],
  onForeign: (deviceId: string, value: string) => void,
): DeviceSummary[] {
  return (rows as [string, number | string, number, number, number, number][]).flatMap(
    ([deviceId, count, firstSeenMs, lastSeenMs, timestampMs, online]) => {
      if (typeof count === "number") {
        return [{ deviceId, count, firstSeenMs, lastSeenMs, timestampMs, online: online === 1 }];
      }
      onForeign(deviceId, count);
      return [];
    },
  );
}

function readPreviews(rows: readonly unknown[]): Map<string, PayloadPreview> {
  const previews = rows as [string, Uint8Array, number][];
  return new Map(previews.map(([deviceId, bytes, totalBytes]) => [deviceId, { bytes, totalBytes }]));
}
