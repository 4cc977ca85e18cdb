/**
 * The file under the SQLite store: deleted, replaced, of another program, locked, grown, on a full disk.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertLess,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { rmSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";

import { openSqliteStore } from "../../src/store/sqlite/sqlite_store.ts";
import { openSqliteThreads } from "../../src/store/sqlite/threads.ts";
import type { Store } from "../../src/store/store.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { batch, countsOf, delta } from "../support/batches.ts";
import { withFile } from "../support/folders.ts";
import { untilStored } from "../support/redis_store.ts";

const ackAfter = { kind: "stored" } as const;

Deno.test("SqliteStore.apply() rejects for a file that was deleted, and continues with a new one", () =>
  withFile(async (path) => {
    await using store = await openThreads(path);
    await store.apply(batch(1, { devices: [delta("a", 1)] }));
    assertEquals(await countsOf(store), { a: 1 });

    await removeFiles(path);
    const second = batch(2, { devices: [delta("b", 2)] });
    const error = await assertRejects(() => store.apply(second), StoreError, "was deleted or replaced");
    assertStringIncludes(error.message, path);
    await assertRejects(() => store.device("a"), StoreError, "was deleted or replaced");
    await store.ping();
    await store.apply(second);
    assertEquals(await countsOf(store), { b: 2 });
    assertEquals(countsIn(path), { b: 2 });
  }));

Deno.test("SqliteStore.ping() rejects while its folder is missing and cannot be created, and resolves afterwards", () =>
  withFile(async (file) => {
    const folder = `${file}-folder`, path = `${folder}/tally.db`;
    await using store = await openThreads(path);
    await store.apply(batch(1, { devices: [delta("a", 1)] }));
    await Deno.remove(folder, { recursive: true });
    await Deno.writeTextFile(folder, "no folder");
    await assertRejects(() => store.ping(), StoreError, "was deleted or replaced");
    await assertRejects(() => store.ping(), StoreError, folder);
    await Deno.remove(folder);
    await store.ping();
    await store.apply(batch(2, { devices: [delta("b", 2)] }));
    assertEquals(countsIn(path), { b: 2 });
  }));

Deno.test("SqliteStore continues with a file of Tally that replaced its own", () =>
  withFile(async (path) => {
    const other = `${path}.other`;
    {
      await using store = await openThreads(other);
      await store.apply(batch(1, { devices: [delta("old", 7)] }));
    }
    await using store = await openThreads(path);
    await store.apply(batch(1, { devices: [delta("a", 1)] }));
    assertEquals(await countsOf(store), { a: 1 });
    await removeFiles(path);
    await Deno.rename(other, path);
    await assertRejects(() => countsOf(store), StoreError, "was deleted or replaced");
    assertEquals(await countsOf(store), { old: 7 });
    await untilStored(() => store.apply(batch(2, { devices: [delta("b", 2)] })));
    assertEquals(await countsOf(store), { old: 7, b: 2 });
    assertEquals(countsIn(path), { old: 7, b: 2 });
  }));

Deno.test("SqliteStore refuses another program's file that replaced its own", () =>
  withFile(async (path) => {
    await using store = await openThreads(path);
    await store.ping();
    await removeFiles(path);
    const bytes = foreignFile(path);
    await assertRejects(() => store.ping(), StoreError, "was deleted or replaced");
    await assertRejects(() => store.ping(), StoreError, "another program");
    assertEquals(await Deno.readFile(path), bytes);
  }));

Deno.test("SqliteStore.apply() checks its file after the commit, so that no batch into a replaced file is acknowledged", () =>
  withFile(async (path) => {
    const store = await openSqliteStore({ path, ackAfter });
    await store.apply(batch(1, { devices: [delta("a", 1)] }));
    const exec = DatabaseSync.prototype.exec;
    DatabaseSync.prototype.exec = function (sql: string) {
      if (sql === "COMMIT") { for (const end of ["", "-wal", "-shm"]) Deno.removeSync(`${path}${end}`); }
      return exec.call(this, sql);
    };
    try {
      const second = batch(2, { devices: [delta("b", 1)] });
      await assertRejects(() => store.apply(second), StoreError, "was deleted or replaced");
    } finally {
      DatabaseSync.prototype.exec = exec;
    }
    assertEquals(store.isOpen, false);
    await store.close();
  }));

Deno.test("SqliteStore goes on with a new file when its own is deleted without its log, which others have open", () =>
  withFile(async (path) => {
    await using store = await openThreads(path);
    for (let sequence = 1; sequence <= 50; sequence++) {
      await store.apply(batch(sequence, { devices: [delta("a", 1)] }));
    }
    await using _other = await openElsewhere(path);
    await Deno.remove(path);
    await untilStored(() => store.apply(batch(51, { devices: [delta("a", 1)] })));
    await untilStored(() => countsOf(store));
    assertEquals(await countsOf(store), { a: 1 });
    assertEquals(countsIn(path), { a: 1 });
  }));

for (const [what, sql] of [["opened", "PRAGMA journal_mode = WAL"], ["set up", "COMMIT"]] as const) {
  Deno.test(`openSqliteStore() does not use a file that is replaced while it is ${what}`, () =>
    withFile(async (path) => {
      const exec = DatabaseSync.prototype.exec;
      const later = batch(1, { devices: [delta("a", 1)] });
      let replaced = false;
      DatabaseSync.prototype.exec = function (statement: string) {
        exec.call(this, statement);
        if (statement !== sql || replaced) return;
        replaced = true;
        for (const end of ["", "-wal", "-shm"]) rmSync(path + end, { force: true });
        using other = new DatabaseSync(path);
        exec.call(
          other,
          "PRAGMA journal_mode = WAL; PRAGMA application_id = 0x54414c59; PRAGMA user_version = 0",
        );
      };
      try {
        const opening = openSqliteStore({ path, ackAfter });
        await assertRejects(() => opening.then((store) => store.apply(later)), StoreError, "replaced");
      } finally {
        DatabaseSync.prototype.exec = exec;
      }
      await using store = await openThreads(path);
      await store.apply(later);
      assertEquals(countsIn(path), { a: 1 });
    }));
}

for (const end of ["-wal", "-shm"]) {
  Deno.test(`SqliteStore loses nothing when only the file ${end} is deleted`, () =>
    withFile(async (path) => {
      await using store = await openThreads(path);
      await store.apply(batch(1, { devices: [delta("a", 1)] }));
      await store.apply(batch(2, { devices: [delta("b", 2)] }));
      assertEquals(await countsOf(store), { a: 1, b: 2 });
      await Deno.remove(`${path}${end}`);
      const third = batch(3, { devices: [delta("c", 3)] });
      await assertRejects(() => store.apply(third), StoreError, `${path}${end} was deleted or replaced`);
      await untilStored(() => store.apply(third));
      await untilStored(() => countsOf(store));
      assertEquals(await countsOf(store), { a: 1, b: 2, c: 3 });
    }));
}

Deno.test("openSqliteStore() does not change another program's database", () =>
  withFile(async (path) => {
    const bytes = foreignFile(path);
    const error = await assertRejects(() => openSqliteStore({ path, ackAfter }), StoreError, path);
    assertStringIncludes(error.message, "found a database of another program");
    assertEquals(await Deno.readFile(path), bytes);
    await assertRejects(() => Deno.stat(`${path}-wal`), Deno.errors.NotFound);
  }));

Deno.test("openSqliteStore() does not change another program's database with a WAL to recover", () =>
  withFile(async (path) => {
    const db = new DatabaseSync(`${path}.source`);
    db.exec("PRAGMA journal_mode = WAL; CREATE TABLE devices (name TEXT); INSERT INTO devices VALUES ('a')");
    for (const end of ["", "-wal"]) await Deno.copyFile(`${path}.source${end}`, `${path}${end}`);
    db.close();
    const bytes = await Deno.readFile(path), log = await Deno.readFile(`${path}-wal`);
    await assertRejects(() => openSqliteStore({ path, ackAfter }), StoreError, "another program");
    assertEquals(await Deno.readFile(path), bytes);
    assertEquals(await Deno.readFile(`${path}-wal`), log);
  }));

Deno.test("openSqliteStore() does not change a database with another application id", () =>
  withFile(async (path) => {
    const db = new DatabaseSync(path);
    db.exec("PRAGMA application_id = 7");
    db.close();
    const bytes = await Deno.readFile(path);
    await assertRejects(() => openSqliteStore({ path, ackAfter }), StoreError, "another program");
    assertEquals(await Deno.readFile(path), bytes);
  }));

Deno.test({
  name: "openSqliteStore() keeps the locks that other stores of its process have on the file",
  ignore: Deno.build.os !== "linux",
  fn: () =>
    withFile(async (path) => {
      await using first = await openThreads(path);
      await first.ping();
      await using second = await openThreads(path);
      await second.ping();
      const inode = Deno.statSync(path).ino;
      assert(Deno.readTextFileSync("/proc/locks").includes(`:${inode} `), "no lock on the file");
    }),
});

Deno.test("openSqliteStore() accepts Tally's files without application id, and sets it", () =>
  withFile(async (path) => {
    {
      await using store = await openThreads(path);
      await store.apply(batch(1, { devices: [delta("a", 1)] }));
    }
    const db = new DatabaseSync(path);
    db.exec("PRAGMA application_id = 0");
    db.close();
    await using store = await openThreads(path);
    assertEquals(await countsOf(store), { a: 1 });
    const other = new DatabaseSync(path);
    assertEquals(other.prepare("PRAGMA application_id").get()?.application_id, 0x54414c59);
    other.close();
  }));

Deno.test("SqliteStore truncates a WAL that grew while a reader held an old snapshot", () =>
  withFile(async (path) => {
    await using store = await openThreads(path);
    await store.apply(batch(1, { devices: [delta("a", 1)] }));
    const reader = new DatabaseSync(path);
    reader.exec("BEGIN; SELECT count(*) FROM devices");
    let sequence = 1;
    const write = async (batches: number) => {
      for (let i = 0; i < batches; i++) {
        const payload = String.fromCharCode(97 + ++sequence % 26).repeat(60_000);
        const devices = Array.from({ length: 32 }, (_, device) => delta(`${device}`, 1, 1000, payload));
        await store.apply(batch(sequence, { devices }));
      }
    };
    await write(24);
    const grown = (await Deno.stat(`${path}-wal`)).size;
    assertLess(40 * 2 ** 20, grown);
    reader.exec("ROLLBACK");
    reader.close();
    await write(2);
    assertLess((await Deno.stat(`${path}-wal`)).size, 20 * 2 ** 20);
  }));

Deno.test("openSqliteThreads() waits for a file that is locked when it is opened", () =>
  withFile(async (path) => {
    const other = new DatabaseSync(path);
    other.exec("BEGIN EXCLUSIVE");
    await using store = await openThreads(path);
    assertEquals(store.description, `SQLite file ${path}`);
    await assertRejects(() => store.ping(), StoreError, "locked");
    await assertRejects(() => store.device("a"), StoreError, "locked");
    other.exec("ROLLBACK");
    other.close();
    await store.ping();
    await store.apply(batch(1, { devices: [delta("a", 1)] }));
    assertEquals(await countsOf(store), { a: 1 });
  }));

Deno.test("openSqliteThreads() waits for another process that opens a file in the same folder", () =>
  withFile(async (path) => {
    using folder = await Deno.open(dirname(path));
    await folder.lock(true);
    await using store = await openThreads(path);
    await assertRejects(() => store.ping(), StoreError, "its folder is locked");
    await folder.unlock();
    await store.ping();
    assertEquals(await countsOf(store), {});
  }));

Deno.test("SqliteStore.ping() rejects while nothing can be written", () =>
  withFile(async (path) => {
    // A limit on the size of files is a full disk that needs no mount: the shell ignores its signal for Deno.
    const script = `
      import { openSqliteStore } from "${import.meta.resolve("../../src/store/sqlite/sqlite_store.ts")}";
      const store = await openSqliteStore({ path: Deno.args[0], ackAfter: { kind: "stored" } });
      const payload = new Uint8Array(4000);
      const failures = [];
      for (let sequence = 1; failures.length === 0; sequence++) {
        const devices = [{ deviceId: String(sequence), packets: 1, timestampMs: 1, payload }];
        const batch =
          { producer: "p", sequence, previous: sequence - 1, receivedAtMs: 1, devices, sessions: [] };
        await store.apply(batch).catch((error) => failures.push(error.message));
        // Smaller than a batch: it may find room where a batch did not.
        if (failures.length > 0) {
          for (let i = 0; i < 20 && failures.length === 1; i++) {
            await store.ping().catch((error) => failures.push(error.message));
          }
        }
      }
      console.log(JSON.stringify(failures));
    `;
    const { stdout, stderr } = await new Deno.Command("sh", {
      args: [
        "-c",
        `trap "" XFSZ; ulimit -f 2000; exec "$0" eval --ext=ts "$1" "$2"`,
        Deno.execPath(),
        script,
        path,
      ],
      stdin: "null",
    }).output();
    const text = new TextDecoder().decode(stdout);
    assert(text.startsWith("["), new TextDecoder().decode(stderr));
    const [applied, pinged] = JSON.parse(text) as string[];
    assertMatch(applied!, /disk/);
    assertMatch(pinged!, /could not write to SQLite file .*disk/);
  }));

/** Makes a database of another program; resolves to its bytes. */
function foreignFile(path: string): Uint8Array {
  const db = new DatabaseSync(path);
  db.exec("CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('mine')");
  db.close();
  return Deno.readFileSync(path);
}

function countsIn(path: string): Record<string, number> {
  const db = new DatabaseSync(path, { readOnly: true });
  const rows = db.prepare("SELECT device_id, count FROM devices").all() as {
    device_id: string;
    count: number;
  }[];
  db.close();
  return Object.fromEntries(rows.map(({ device_id, count }) => [device_id, count]));
}

async function removeFiles(path: string): Promise<void> {
  for (const end of ["", "-wal", "-shm"]) await Deno.remove(`${path}${end}`);
}

async function openThreads(path: string): Promise<Store & AsyncDisposable> {
  const store = await openSqliteThreads({ path, ackAfter, lockTimeoutMs: 50 });
  return Object.assign(store, { [Symbol.asyncDispose]: () => store.close() });
}

/** Another process that has the file open, and that does not notice what becomes of it. */
async function openElsewhere(path: string): Promise<AsyncDisposable> {
  const code = `
    import { DatabaseSync } from "node:sqlite";
    const db = new DatabaseSync(${JSON.stringify(path)});
    console.log(db.prepare("SELECT count(*) FROM devices").get());
    await Deno.stdin.read(new Uint8Array(1));`;
  const args = ["eval", code];
  const process = new Deno.Command(Deno.execPath(), { args, stdin: "piped", stdout: "piped" }).spawn();
  const reader = process.stdout.getReader();
  await reader.read(); // it has read the file
  return {
    async [Symbol.asyncDispose]() {
      await process.stdin.close();
      await reader.cancel();
      await process.status;
    },
  };
}
