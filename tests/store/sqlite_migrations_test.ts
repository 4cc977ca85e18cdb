/**
 * SQLite files of another schema version than this program's: upgraded in place if older, refused if newer.
 *
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { DatabaseSync } from "node:sqlite";

import { SCHEMA_VERSION } from "../../src/store/sqlite/migrations.ts";
import { openSqliteStore } from "../../src/store/sqlite/sqlite_store.ts";
import { openSqliteThreads } from "../../src/store/sqlite/threads.ts";
import type { Store } from "../../src/store/store.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { advance, batch, bytes, countsOf, delta, now } from "../support/batches.ts";
import { withFolder } from "../support/folders.ts";

const ackAfter = { kind: "stored" } as const;
const later = now + 365 * 24 * 3_600_000;

/** Tables that versions 1 and 2 have alike, and what either wrote to them. */
const sessionsAndProducers = `
    CREATE TABLE sessions (
      session TEXT PRIMARY KEY,
      epoch INTEGER NOT NULL,
      committed INTEGER NOT NULL,
      expires_at_ms INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX sessions_by_expiry ON sessions (expires_at_ms);
    CREATE TABLE producers (
      producer TEXT PRIMARY KEY,
      sequence INTEGER NOT NULL,
      expires_at_ms INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX producers_by_expiry ON producers (expires_at_ms);
    INSERT INTO sessions VALUES ('s', 3, 5, ${later});
    INSERT INTO producers VALUES ('p', 4, ${later});`;

/** The tables as the Tally of that version made them, and what it wrote. */
const oldFiles: Record<number, string> = {
  1: `
    CREATE TABLE devices (
      device_id TEXT PRIMARY KEY,
      count INTEGER NOT NULL,
      first_seen_ms INTEGER NOT NULL,
      last_seen_ms INTEGER NOT NULL,
      timestamp_ms INTEGER NOT NULL,
      payload BLOB NOT NULL
    ) STRICT;
    ${sessionsAndProducers}
    INSERT INTO devices VALUES ('a', 5, ${now - 9}, ${now}, 77, x'686f74'), ('b', 7, 1, 2, -3, x'');
    PRAGMA user_version = 1;`,
  2: `
    CREATE TABLE devices (
      device_id TEXT PRIMARY KEY,
      count INTEGER NOT NULL,
      first_seen_ms INTEGER NOT NULL,
      last_seen_ms INTEGER NOT NULL,
      timestamp_ms INTEGER NOT NULL,
      online INTEGER NOT NULL,
      minute_packets INTEGER NOT NULL, -- of the minute of last_seen_ms
      hour_packets INTEGER NOT NULL,
      history BLOB, -- minutes and hours before that; see history.ts
      payload BLOB NOT NULL
    ) STRICT;
    CREATE TABLE fleet_history (
      period_ms INTEGER NOT NULL,
      start_ms INTEGER NOT NULL,
      packets INTEGER NOT NULL,
      PRIMARY KEY (period_ms, start_ms)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE changes (
      version INTEGER PRIMARY KEY,
      device_ids TEXT NOT NULL, -- JSON
      end_bytes INTEGER NOT NULL -- of this and all before it
    ) STRICT;
    CREATE TABLE events (
      id INTEGER PRIMARY KEY,
      kind TEXT NOT NULL,
      device_id TEXT NOT NULL,
      at_ms INTEGER NOT NULL,
      last_seen_ms INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE delivery (
      only INTEGER PRIMARY KEY CHECK (only = 1),
      owner TEXT NOT NULL,
      expires_at_ms INTEGER NOT NULL,
      event_id INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE instances (
      instance TEXT PRIMARY KEY,
      reported_ms INTEGER NOT NULL,
      report TEXT NOT NULL -- JSON
    ) STRICT;
    ${sessionsAndProducers}
    INSERT INTO devices VALUES
      ('a', 5, ${
    now - 9
  }, ${now}, 77, 1, 5, 6, x'0100010009', x'686f74'), ('b', 7, 1, 2, -3, 0, 7, 7, NULL, x'');
    INSERT INTO fleet_history VALUES (60000, ${now - now % 60_000}, 12);
    INSERT INTO changes VALUES (3, '["a"]', 37), (4, '["b"]', 74);
    INSERT INTO events VALUES (1, 'offline', 'b', ${now}, 2);
    INSERT INTO delivery VALUES (1, 'me', 0, 1);
    PRAGMA user_version = 2;`,
};

/** The data of {@linkcode oldFiles} is complete, and the store continues with it. */
async function assertUpgraded(store: Store, version: number): Promise<void> {
  const a = {
    deviceId: "a",
    count: 5,
    firstSeenMs: now - 9,
    lastSeenMs: now,
    timestampMs: 77,
    online: true,
    payload: bytes("hot"),
  };
  assertEquals(await store.device("a"), a);
  const b = await store.device("b");
  assertEquals([b?.count, b?.timestampMs, b?.online], [7, -3, version === 1]);
  const minutes = (await store.history("a", now))?.minutes.slice(-2).map(({ packets }) => packets);
  assertEquals(minutes, version === 1 ? [0, 0] : [9, 5]);
  if (version > 1) {
    assertEquals((await store.fleetHistory(now)).minutes.at(-1)?.packets, 12);
    assertEquals((await store.changes(3)).devices, new Map([["b", undefined]]));
    assertEquals((await store.events(0, 9)).map(({ id, kind, deviceId }) => [id, kind, deviceId]), [
      [1, "offline", "b"],
    ]);
    assertEquals(await store.claimDelivery("you", 1000, now), 1);
  }
  assertEquals((await store.claimSession("unknown", 5, now)).lost, 0, "it may have expired");

  const next = { sessions: [advance("s", 3, 5, 6)], devices: [delta("a", 1, 99)] };
  assertEquals(await store.apply(batch(4, next)), [], "applied before");
  assertEquals(await store.apply(batch(5, next)), []);
  assertEquals(await countsOf(store), { a: 6, b: 7 });
  const { committed, epoch } = await store.claimSession("s", 6, now);
  assertEquals([committed, epoch > 3], [6, true]);
}

for (const version of [1, 2]) {
  Deno.test(`openSqliteStore() upgrades a file of schema version ${version}, and loses nothing of it`, () =>
    withOldFile(version, async (path) => {
      const store = await openSqliteStore({ path, ackAfter });
      await assertUpgraded(store, version);
      await store.close();
      await (await openSqliteStore({ path: `${path}.new`, ackAfter })).close();
      assertEquals(inFile(path, schemaOf), inFile(`${path}.new`, schemaOf));
    }));

  Deno.test(`openSqliteThreads() upgrades a file of schema version ${version} that several processes open`, () =>
    withOldFile(version, async (path) => {
      const stores = await Promise.all([1, 2, 3, 4].map(() => openSqliteThreads({ path, ackAfter })));
      await assertUpgraded(stores[3]!, version);
      for (const store of stores) await store.close();
    }));
}

Deno.test("openSqliteStore() stores when the data of a new file began", async () => {
  await withFolder(async (folder) => {
    const store = await openSqliteStore({ path: `${folder}/new.db`, ackAfter });
    assertEquals((await store.claimSession("unknown", 5, Date.now())).lost, 5);
    await store.close();
  });
});

Deno.test("openSqliteStore() killed in the middle of an upgrade leaves the older version usable", () =>
  withOldFile(1, async (path) => {
    // What an upgrade executes, as the child counts it; the last is COMMIT.
    const statements = await upgradeIn({ path: `${path}.copy`, from: path, killAt: Infinity });
    assert(statements > 10, `only ${statements} statements`);
    const kills = [1, 3, 6, 7, 9, statements - 2, statements - 1, statements];
    for (const killAt of kills) {
      const copy = `${path}.${killAt}`;
      await upgradeIn({ path: copy, from: path, killAt });
      // Committed or not, it is one version or the other.
      const found = inFile(copy, (db) => db.prepare("PRAGMA user_version").get()!.user_version);
      const rows = inFile(copy, (db) => db.prepare("SELECT device_id, count FROM devices").all());
      assertEquals(rows.map((row) => ({ ...row })), [{ device_id: "a", count: 5 }, {
        device_id: "b",
        count: 7,
      }]);
      assertEquals(inFile(copy, (db) => db.prepare("PRAGMA integrity_check").get()!.integrity_check), "ok");
      assertEquals(found, 1, `killed at statement ${killAt}`);
      assertEquals(inFile(copy, schemaOf), inFile(path, schemaOf));
      const store = await openSqliteStore({ path: copy, ackAfter });
      await assertUpgraded(store, 1);
      await store.close();
    }
  }));

Deno.test("openSqliteStore() refuses a file of a newer schema version, and leaves it as it is", () =>
  withOldFile(2, async (path) => {
    inFile(path, (db) => db.exec(`PRAGMA user_version = ${SCHEMA_VERSION + 1}`));
    const before = inFile(path, schemaOf);
    const message = `it has schema version ${SCHEMA_VERSION + 1}, this program supports ${SCHEMA_VERSION}`;
    await assertRejects(() => openSqliteStore({ path, ackAfter }), StoreError, message);
    await assertRejects(() => openSqliteThreads({ path, ackAfter }), StoreError, message);
    assertEquals(inFile(path, schemaOf), before);
  }));

Deno.test("SqliteStore reads and writes nothing once a newer Tally has upgraded its file", () =>
  withOldFile(2, async (path) => {
    const store = await openSqliteStore({ path, ackAfter });
    const reader = await openSqliteStore({ path, ackAfter });
    const threads = await openSqliteThreads({ path, ackAfter });
    assertEquals(await countsOf(threads), { a: 5, b: 7 });
    inFile(path, (db) => db.exec(`PRAGMA user_version = ${SCHEMA_VERSION + 1}`));
    const newer = `it has schema version ${SCHEMA_VERSION + 1}`;
    const next = batch(5, { devices: [delta("a", 1)] });
    await assertRejects(() => store.apply(next), StoreError, newer);
    await assertRejects(() => countsOf(reader), StoreError, newer);
    assertEquals([store.isOpen, reader.isOpen], [false, false]);
    for (let attempt = 0; attempt < 2; attempt++) {
      await assertRejects(() => threads.apply(next), StoreError, newer);
      await assertRejects(() => threads.device("a"), StoreError, newer);
    }
    // The newer Tally was downgraded, with its file.
    inFile(path, (db) => db.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`));
    assertEquals(await threads.apply(next), []);
    assertEquals(await countsOf(threads), { a: 6, b: 7 });
    await threads.close();
  }));

/**
 * Upgrades a copy of `from` in a process of its own, which kills itself before the statement of that number;
 * resolves to the number of statements.
 */
async function upgradeIn(
  { path, from, killAt }: { path: string; from: string; killAt: number },
): Promise<number> {
  await Deno.copyFile(from, path);
  const script = `
    import { DatabaseSync } from "node:sqlite";
    import { openSqliteStore } from "${import.meta.resolve("../../src/store/sqlite/sqlite_store.ts")}";
    const exec = DatabaseSync.prototype.exec;
    let statements = 0, isUpgrade = false;
    DatabaseSync.prototype.exec = function (sql) {
      if (sql === "BEGIN IMMEDIATE") isUpgrade = true;
      else if (isUpgrade && ++statements === Number(Deno.args[1])) Deno.kill(Deno.pid, "SIGKILL");
      if (sql === "COMMIT") isUpgrade = false;
      return exec.call(this, sql);
    };
    const store = await openSqliteStore({ path: Deno.args[0], ackAfter: { kind: "stored" } });
    console.log(statements);
    await store.close();
  `;
  const { stdout, stderr, signal } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--ext=ts", script, path, String(killAt)],
    stdin: "null",
  }).output();
  if (killAt === Infinity) return Number(new TextDecoder().decode(stdout));
  assertEquals(signal, "SIGKILL", new TextDecoder().decode(stderr));
  return killAt;
}

/** Tables and indexes, with their columns; comments in them may differ. */
function schemaOf(db: DatabaseSync): unknown[] {
  const tables = db.prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY name").all();
  return tables.map(({ type, name, sql }) => {
    const text = String(sql).replace(/--.*$/gm, "").replace(/"/g, "").replace(/\s+/g, " ");
    return [type, name, text];
  });
}

function inFile<T>(path: string, body: (db: DatabaseSync) => T): T {
  const db = new DatabaseSync(path);
  try {
    return body(db);
  } finally {
    db.close();
  }
}

async function withOldFile(version: number, body: (path: string) => Promise<void>): Promise<void> {
  await withFolder(async (folder) => {
    const path = `${folder}/tally.db`;
    inFile(path, (db) => db.exec(oldFiles[version]!));
    await body(path);
  });
}
