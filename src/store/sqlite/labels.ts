/**
 * Labels of devices in a SQLite file.
 *
 * @module
 */
import { type LabelPage, type LabelStore, MAX_UNSEEN_LABELLED } from "../labels.ts";
import { changedLabels, decodeLabels, noLabelsText } from "../model/labels.ts";
import { sqliteChanges } from "./changes.ts";
import type { Database } from "./database.ts";

/** Devices read in one statement. */
const PAGE_DEVICES = 1_000;

/** Removes the labels of these devices, in the caller's transaction; whether any had some. */
export type RemoveLabels = (deviceIds: readonly string[]) => boolean;

/** What the threads call in place of `scanLabels`, which cannot cross between them. */
export interface LabelPages {
  /** Labels of the devices after this one, by id; "": the first ones. */
  labelPage(after: string): Promise<LabelPage>;
}

/** All pages that `read` has. */
export async function* labelPages(read: LabelPages["labelPage"]): AsyncGenerator<LabelPage> {
  for (let page = await read(""); page.length > 0;) {
    yield page;
    page = page.length < PAGE_DEVICES ? [] : await read(page.at(-1)![0]);
  }
}

interface Row {
  readonly labels: string;
  readonly notes: string;
}

const queriesOfManyRows = {
  page: `SELECT device_id, labels FROM labels WHERE device_id > ? ORDER BY device_id LIMIT ${PAGE_DEVICES}`,
  some: "SELECT device_id, labels FROM labels WHERE device_id IN (SELECT value FROM json_each(?))",
};

const queries = {
  read: "SELECT labels, notes FROM labels WHERE device_id = ?",
  write: "INSERT OR REPLACE INTO labels VALUES (?, ?, ?)",
  remove: "DELETE FROM labels WHERE device_id = ?",
  room: `SELECT devices + ${MAX_UNSEEN_LABELLED} - (SELECT count(*) FROM labels) AS room FROM totals`,
  isSeen: "SELECT 1 FROM devices WHERE device_id = ?",
};

/** A table of its own, with a list of changes. */
export function sqliteLabels(
  database: Database,
): LabelStore & LabelPages & { readonly removeLabels: RemoveLabels } {
  const arrays = database.prepareArrays(queriesOfManyRows), statements = database.prepare(queries);
  const list = sqliteChanges(database, "label_changes");
  const labelPage = (after: string) =>
    database.read("read all labels of", () => decodeAll(arrays.page.all(after)));

  return {
    setLabels: (changes) =>
      database.write(`change the labels of ${changes.length} devices in`, () => {
        let { room } = statements.room.get() as { room: number };
        const changed: [deviceId: string, labels: string, notes: string][] = [];
        for (const change of changes) {
          const { deviceId } = change;
          const before = statements.read.get(deviceId) as Row | undefined;
          const labels = changedLabels(before?.labels, change);
          if (labels === undefined) return { deviceId, limit: "tags" as const };
          const notes = change.notes ?? before?.notes ?? "";
          const isNew = before === undefined && (labels !== noLabelsText || notes !== "");
          if (isNew && --room < 0 && statements.isSeen.get(deviceId) === undefined) {
            return { deviceId, limit: "unseen" as const };
          }
          if (isNew || before !== undefined && (labels !== before.labels || notes !== before.notes)) {
            changed.push([deviceId, labels, notes]);
          }
        }
        for (const [deviceId, labels, notes] of changed) {
          if (labels === noLabelsText && notes === "") statements.remove.run(deviceId);
          else statements.write.run(deviceId, labels, notes);
        }
        if (changed.length > 0) list.add(changed.map(([deviceId]) => deviceId));
        return undefined;
      }),

    labels: (deviceIds) =>
      database.read(
        `read the labels of ${deviceIds.length} devices from`,
        () => new Map(decodeAll(arrays.some.all(JSON.stringify(deviceIds)))),
      ),

    notes: (deviceId) =>
      database.read(`read the notes about device ${deviceId} from`, () => {
        const row = statements.read.get(deviceId) as Row | undefined;
        return row?.notes ?? "";
      }),

    labelPage,
    scanLabels: () => labelPages(labelPage),
    labelChanges: (since) => list.since(since),

    removeLabels(deviceIds) {
      const labelled = deviceIds.filter((deviceId) => statements.remove.run(deviceId).changes === 1);
      if (labelled.length > 0) list.add(labelled);
      return labelled.length > 0;
    },
  };
}

function decodeAll(rows: readonly unknown[]): LabelPage {
  return (rows as [string, string][]).map(([deviceId, labels]) => [deviceId, decodeLabels(labels)]);
}
