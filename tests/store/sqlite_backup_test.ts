/** Copies of a SQLite file that is being written to. */
import { assert, assertEquals } from "@std/assert";

import { backupSqliteFile } from "../../src/store/sqlite/backup.ts";
import { openSqliteStore } from "../../src/store/sqlite/sqlite_store.ts";
import { openSqliteThreads } from "../../src/store/sqlite/threads.ts";
import { advance, batch, countsOf, delta, now } from "../support/batches.ts";
import { withFile } from "../support/folders.ts";

const ackAfter = { kind: "stored" } as const;

Deno.test("backupSqliteFile() while batches are applied: each copy has one state, in which counts and session agree", () =>
  withFile(async (path) => {
    const store = await openSqliteThreads({ path, ackAfter });
    const { epoch } = await store.claimSession("s", 0, now);
    let applied = 0, stopped = false;
    const writing = (async () => {
      for (; !stopped; applied++) {
        const devices = Array.from({ length: 20 }, (_, i) => delta(`d-${i} ${"x".repeat(50)}`, 1));
        const sessions = [advance("s", epoch, 20 * applied, 20 * (applied + 1))];
        assertEquals(await store.apply(batch(applied + 1, { devices, sessions })), []);
      }
    })();
    const copies: [path: string, before: number, after: number][] = [];
    for (let i = 0; i < 5; i++) {
      const copy = `${path}-${i}`, before = applied;
      assert(await backupSqliteFile(path, copy) > 4096);
      copies.push([copy, before, applied]);
    }
    stopped = true;
    await writing;
    await store.close();
    for (const [copy, before, after] of copies) {
      const restored = await openSqliteStore({ path: copy, ackAfter });
      const counted = Object.values(await countsOf(restored)).reduce((sum, count) => sum + count, 0);
      const { committed } = await restored.claimSession("s", 0, now);
      await restored.close();
      assertEquals(counted, committed);
      assert(
        committed >= 20 * before && committed <= 20 * (after + 1),
        `${committed} of ${before} to ${after} batches`,
      );
    }
    assert(copies.at(-1)![1] > copies[0]![1], "batches were applied meanwhile");
  }));

Deno.test("backupSqliteFile() copies a file that no process has open, and leaves one file", () =>
  withFile(async (path) => {
    const store = await openSqliteStore({ path, ackAfter });
    await store.apply(batch(1, { devices: [delta("a", 3)] }));
    await store.setLabels([{ deviceId: "a", name: "A", tags: new Map([["site", "oslo"]]), notes: "notes" }]);
    await store.close();
    const folder = `${path}-copies`;
    await backupSqliteFile(path, `${folder}/copy.db`);
    assertEquals(await Array.fromAsync(Deno.readDir(folder), ({ name }) => name), ["copy.db"]);
    const restored = await openSqliteStore({ path: `${folder}/copy.db`, ackAfter });
    assertEquals(await countsOf(restored), { a: 3 });
    const { name, tags } = (await restored.labels(["a"])).get("a")!;
    assertEquals([name, [...tags], await restored.notes("a")], ["A", [["site", "oslo"]], "notes"]);
    await restored.close();
  }));
