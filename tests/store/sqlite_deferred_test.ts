/**
 * Packets that are appended to a segment log in a SQLite file and counted later.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { DatabaseSync } from "node:sqlite";

import type { Batch } from "../../src/store/packets.ts";
import { Database } from "../../src/store/sqlite/database.ts";
import { openFile } from "../../src/store/sqlite/database_file.ts";
import { openSqliteStore, type SqliteStore, storeIn } from "../../src/store/sqlite/sqlite_store.ts";
import type { Store } from "../../src/store/store.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { testKills } from "../contracts/kills_contract.ts";
import { type StorePlace, testStoreContract } from "../contracts/store_contract.ts";
import { advance, batch, countsOf, delta, now, numbered } from "../support/batches.ts";
import { copyOf, withFile } from "../support/folders.ts";
import { forSeeds } from "../support/random.ts";
import { openStoreAt } from "../support/store_location.ts";
import { until } from "../support/until.ts";

const ackAfter = { kind: "stored" } as const;

/** Logs of processes that have ended are taken over at once. */
const deferring = { deferFrom: 1, partDevices: 2000, abandonedMs: 150 } as const;

async function makePlace(kind: "sqlite" | "sqlite-threads", partDevices: number): Promise<StorePlace> {
  const dir = await Deno.makeTempDir({ prefix: "tally-sqlite-" }), path = `${dir}/tally.db`;
  const location = { kind, path, deferring: { ...deferring, partDevices } };
  return {
    location,
    open: async () => counting(path, await openStoreAt(location)),
    snapshot: () => copyOf(path),
    [Symbol.asyncDispose]: () => Deno.remove(dir, { recursive: true }),
  };
}

for (const [title, kind] of [["SQLite", "sqlite"], ["SQLite in threads", "sqlite-threads"]] as const) {
  testStoreContract(`${title}, deferring`, () => makePlace(kind, 2000), { only: "packets" });
}

// Of many parts each, though devices are few: most writers are killed while they merge.
testKills("SQLite, deferring in small parts", () => makePlace("sqlite", 10));

/** The store; whatever was applied, by any process, is in the counts when a batch is applied or a session claimed. */
function counting(path: string, store: Store): Store {
  const whenCounted = async <T>(result: Promise<T>) => {
    const value = await result;
    await untilCounted(path, store);
    return value;
  };
  return Object.assign(Object.create(store), {
    apply: (batch: Batch) => whenCounted(store.apply(batch)),
    claimSession: (...args: Parameters<Store["claimSession"]>) => whenCounted(store.claimSession(...args)),
  });
}

function rowsIn(path: string, sql: string): Record<string, unknown>[] {
  using db = new DatabaseSync(path, { readOnly: true, timeout: 1000 });
  return db.prepare(sql).all();
}

/** Waits until no segment log holds packets; `store` takes over those of processes that have ended. */
async function untilCounted(path: string, store?: Store): Promise<void> {
  await until(async () => {
    if (rowsIn(path, "SELECT 1 FROM segment_logs").length === 0) return true;
    await store?.ping().catch(() => {});
    return false;
  }, "all packets are counted");
}

function total(path: string): Record<string, unknown> {
  return { ...rowsIn(path, "SELECT sum(count) AS packets, count(*) AS devices FROM devices")[0] };
}

/** A store with a log of its own. Injects a fault that no file shows on demand: merges wait, or fail. */
class DeferringWriter implements AsyncDisposable {
  readonly store: SqliteStore;
  /** Merges that may pass; -1: all. */
  merges = 0;
  merged = 0;
  /** After so many of them the file is written, and the writer does not learn of it. */
  unknownAfter = -1;
  readonly #numbered: Store;

  constructor(readonly database: Database) {
    const faulty = new Proxy(database, {
      get: (target, name) => {
        if (name === "write") return this.#write.bind(this);
        const value = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    this.store = storeIn(faulty, deferring);
    this.#numbered = numbered(this.store);
  }

  static async open(path: string): Promise<DeferringWriter> {
    await (await openSqliteStore({ path, ackAfter })).close();
    const opened = openFile(path);
    opened.db.exec("PRAGMA journal_mode = WAL");
    return new DeferringWriter(new Database(opened, path, 1000));
  }

  async #write<T>(attempt: string, body: () => T): Promise<T> {
    if (!attempt.startsWith("merge")) return await this.database.write(attempt, body);
    if (this.merges === 0) throw new StoreError("the test lets no merge pass");
    const result = await this.database.write(attempt, body);
    this.merges--;
    this.merged++;
    if (this.merged === this.unknownAfter) throw new StoreError("the test lets the writer not learn of it");
    return result;
  }

  /** Applies a batch of numbered devices. */
  apply(batch: Batch) {
    return this.#numbered.apply(batch);
  }

  /** Ends without a word, as after `kill -9`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.database.close();
    await this.store.close();
  }
}

const fleet = (devices: number, packets: number) =>
  Array.from({ length: devices }, (_, i) => delta(`sensor-${i}`, packets));

async function withStore(path: string, body: (store: SqliteStore) => Promise<void>): Promise<void> {
  const store = await openSqliteStore({ path, ackAfter, ...deferring });
  try {
    await body(store);
  } finally {
    await store.close();
  }
}

/** Some other process takes over what was left, and counts it. */
function countByAnother(path: string): Promise<void> {
  return withStore(path, (store) => untilCounted(path, store));
}

Deno.test("SqliteStore.apply() of many known devices stores a segment, which is counted later, and leaves nothing else", () =>
  withFile(async (path) => {
    await using writer = await DeferringWriter.open(path);
    await writer.apply(batch(1, { devices: fleet(5000, 1) }));
    const { epoch } = await writer.store.claimSession("s", 0, now);
    await writer.apply(batch(2, { devices: fleet(5000, 2), sessions: [advance("s", epoch, 0, 10_000)] }));
    await writer.apply(batch(3, { devices: fleet(5000, 3) }));
    assertEquals(total(path), { packets: 5000, devices: 5000 });
    assertEquals(rowsIn(path, "SELECT committed FROM sessions").map(({ committed }) => committed), [10_000]);
    assertEquals(writer.store.deferred!().packets, 25_000);
    writer.merges = -1;
    await untilCounted(path);
    assertEquals(total(path), { packets: 30_000, devices: 5000 });
    await until(() => writer.store.deferred!().packets === 0, "nothing is deferred");
    assertEquals(writer.store.deferred!(), { packets: 0, bytes: 0 });
    for (const table of ["segments", "merged_parts"]) {
      assertEquals(rowsIn(path, `SELECT * FROM ${table}`), []);
    }
  }));

Deno.test("SqliteStore.status() has the age of the oldest packets in logs", () =>
  withFile(async (path) => {
    await using writer = await DeferringWriter.open(path);
    const startedMs = Date.now();
    await writer.apply({ ...batch(1, { devices: fleet(5000, 1) }), receivedAtMs: startedMs - 90_000 });
    assertEquals((await writer.store.status()).countsLateMs, 0);
    for (const [sequence, receivedAtMs] of [[2, startedMs - 60_000], [3, startedMs]] as const) {
      await writer.apply({ ...batch(sequence, { devices: fleet(5000, 1) }), receivedAtMs });
    }
    const { countsLateMs } = await writer.store.status();
    assert(Math.abs(countsLateMs! - 60_000 - (Date.now() - startedMs)) < 1_000, `${countsLateMs}`);
    writer.merges = -1;
    await untilCounted(path);
    assertEquals((await writer.store.status()).countsLateMs, 0);
  }));

Deno.test("SqliteStore: a log is merged once, though its owner ends after any part of it, and comes back", () =>
  forSeeds(2, (random) =>
    withFile(async (path) => {
      await using writer = await DeferringWriter.open(path);
      let packets = 7000, sequence = 1;
      await writer.apply(batch(sequence, { devices: fleet(7000, 1) }));
      for (let round = 0; round < 3; round++) {
        for (let n = random.int(1, 4); n > 0; n--) {
          // The devices come in another order each time: that in which they are merged is that of their rows.
          const order = fleet(7000, n).map((delta) => ({ delta, at: random.int(0, 2 ** 31) }));
          const devices = order.sort((a, b) => a.at - b.at).map(({ delta }) => delta);
          await writer.apply(batch(++sequence, { devices }));
          packets += 7000 * n;
        }
        const merges = writer.merged + random.int(0, 3);
        writer.merges = merges - writer.merged;
        await until(() => writer.merged >= merges, "so many parts are merged");
        writer.merges = 0;
        await countByAnother(path);
        assertEquals(total(path), { packets, devices: 7000 });
      }
      // The owner goes on with a log of its own.
      writer.merges = -1;
      await writer.apply(batch(++sequence, { devices: fleet(7000, 1) }));
      await untilCounted(path);
      assertEquals(total(path), { packets: packets + 7000, devices: 7000 });
    })));

Deno.test("SqliteStore: a part is merged once, though its owner does not learn that it was", () =>
  withFile(async (path) => {
    await using writer = await DeferringWriter.open(path);
    await writer.apply(batch(1, { devices: fleet(7000, 1) }));
    await writer.apply(batch(2, { devices: fleet(7000, 1) }));
    writer.unknownAfter = writer.merged + 2;
    writer.merges = -1;
    await until(() => writer.merged >= 2, "two parts are merged");
    await writer.apply(batch(3, { devices: fleet(7000, 1) }));
    await countByAnother(path);
    assertEquals(total(path), { packets: 21_000, devices: 7000 });
  }));

Deno.test("SqliteStore: a log that another process has taken over accepts neither a batch nor a merge of its owner", () =>
  withFile(async (path) => {
    await using writer = await DeferringWriter.open(path);
    await using other = await DeferringWriter.open(path);
    await writer.apply(batch(1, { devices: fleet(3000, 1) }));
    await writer.apply(batch(2, { devices: fleet(3000, 1) }));
    const owner = () => rowsIn(path, "SELECT owner FROM segment_logs")[0]?.["owner"];
    const before = owner();
    await until(async () => {
      await other.store.ping();
      return owner() !== before;
    }, "it is taken over");
    other.merges = 1;
    await until(() => other.merged === 1, "a part is merged");
    writer.merges = -1;
    await until(() => writer.merged > 0, "the owner tries to merge");
    assertEquals(await writer.apply(batch(3, { devices: fleet(3000, 1) })), []);
    other.merges = -1;
    await untilCounted(path);
    assertEquals(total(path), { packets: 9000, devices: 3000 });
  }));

Deno.test("SqliteStore: what was deferred into a file that was reverted is not counted into what is there now", () =>
  withFile(async (path) => {
    await using writer = await DeferringWriter.open(path);
    await writer.apply(batch(1, { devices: fleet(3000, 1) }));
    // The first segment is merged by itself; the others are merged together.
    await writer.apply(batch(2, { devices: fleet(3000, 1) }));
    await writer.apply(batch(3, { devices: fleet(3000, 1) }));
    // Another program puts the contents of a backup into the same file.
    using reverting = new DatabaseSync(path);
    const tables = ["devices", "producers", "segment_logs", "segments", "merged_parts", "removed_rows"];
    for (const table of tables) reverting.exec(`CREATE TABLE kept_${table} AS SELECT * FROM ${table}`);
    await writer.apply(batch(4, { devices: fleet(3000, 1) }));
    reverting.exec("BEGIN IMMEDIATE");
    for (const table of tables) {
      reverting.exec(`DELETE FROM ${table}`);
      reverting.exec(`INSERT INTO ${table} SELECT * FROM kept_${table}`);
    }
    reverting.exec("COMMIT");
    writer.merges = -1;
    assertEquals(await writer.apply(batch(5, { devices: fleet(3000, 1) })), []);
    await countByAnother(path);
    // Batches 1 to 3, which it holds, and 5.
    assertEquals(total(path), { packets: 12_000, devices: 3000 });
  }));

Deno.test("SqliteStore.remove(): packets that wait in a log are removed with their device, and later ones count from zero", () =>
  withFile(async (path) => {
    await using writer = await DeferringWriter.open(path);
    await withStore(path, async (store) => {
      await writer.apply(batch(1, { devices: [delta("a", 1), delta("b", 1), delta("c", 1)] }));
      await writer.apply(batch(2, { devices: [delta("a", 2), delta("b", 2), delta("c", 2)] }));
      assert(await store.remove("c"));
      assert(await store.remove("a"));
      // In the row that was that of c.
      await store.apply({ ...batch(1, { devices: [delta("d", 1)] }), producer: "other" });
      writer.merges = -1;
      await untilCounted(path);
      assertEquals(await countsOf(store), { b: 3, d: 1 });
      assertEquals(await store.removedPackets(), 6);
      await writer.apply(batch(3, { devices: [delta("a", 4), delta("b", 4), delta("c", 5)] }));
      await untilCounted(path);
      assertEquals(await countsOf(store), { a: 4, b: 7, c: 5, d: 1 });
    });
  }));

Deno.test("SqliteStore.apply() checks limits of devices that were removed while they were known, one or many", () =>
  forSeeds(1, async () => {
    for (const others of [1, 100]) {
      await withFile(async (path) => {
        await using writer = await DeferringWriter.open(path);
        await withStore(path, async (store) => {
          writer.merges = -1;
          const deviceLimits = { maxDevices: others + 1, maxNewPerMinute: 1000 };
          const devices = [...fleet(others, 1), delta("stays", 1)];
          await writer.apply({ ...batch(1, { devices }), deviceLimits });
          for (let i = 0; i < others; i++) assert(await store.remove(`sensor-${i}`));
          await store.apply({
            ...batch(1, { devices: Array.from({ length: others }, (_, i) => delta(`new-${i}`, 1)) }),
            producer: "other",
          });
          const refused = await writer.apply({
            ...batch(2, { devices: [delta("stays", 1), ...fleet(others, 1)] }),
            deviceLimits,
          });
          assertEquals(
            refused,
            fleet(others, 1).map(({ deviceId }) => ({ kind: "refused", deviceId, limit: "maxDevices" })),
          );
          await untilCounted(path);
          assertEquals(total(path), { packets: others + 2, devices: others + 1 });
        });
      });
    }
  }));

Deno.test("SqliteStore.markOffline() and removeUnseen() take no silence for certain while packets wait in a log", () =>
  withFile(async (path) => {
    await using writer = await DeferringWriter.open(path);
    await withStore(path, async (store) => {
      await writer.apply(batch(1, { devices: [delta("a", 1)] }));
      await writer.apply({ ...batch(2, { devices: [delta("a", 1)] }), receivedAtMs: now + 30_000 });
      // Silent for a minute, by its record; but packets since 30 seconds after that are not counted yet.
      assertEquals(await store.markOffline(["a"], now + 1, now + 60_001), 0);
      assertEquals(await store.removeUnseen(["a"], now + 1), 0);
      writer.merges = -1;
      await untilCounted(path);
      assertEquals(await store.markOffline(["a"], now + 30_001, now + 90_001), 1);
      assertEquals(await store.removeUnseen(["a"], now + 30_001), 1);
    });
  }));

Deno.test("SqliteStore.close() counts what is deferred before it resolves", () =>
  withFile(async (path) => {
    const store = await openSqliteStore({ path, ackAfter, ...deferring }), applying = numbered(store);
    await applying.apply(batch(1, { devices: fleet(3000, 1) }));
    for (let sequence = 2; sequence <= 5; sequence++) {
      await applying.apply(batch(sequence, { devices: fleet(3000, 1) }));
    }
    await store.close();
    assertEquals(total(path), { packets: 15_000, devices: 3000 });
    assertEquals(rowsIn(path, "SELECT * FROM segment_logs"), []);
  }));

Deno.test("SqliteStore.apply() waits while a log has no room", () =>
  withFile(async (path) => {
    await using writer = await DeferringWriter.open(path);
    const large = (sequence: number) => {
      const payload = "x".repeat(60_000);
      return batch(sequence, {
        devices: Array.from({ length: 500 }, (_, i) => delta(`s-${i}`, 1, 1000, payload)),
      });
    };
    await writer.apply(large(1));
    let applied = 1;
    const all = (async () => {
      for (let sequence = 2; sequence <= 6; sequence++) {
        await writer.apply(large(sequence));
        applied = sequence;
      }
    })();
    // 30 MB each: there is room until there are 64.
    await until(() => applied === 4, "the log is full");
    await writer.store.ping();
    assertEquals(applied, 4);
    writer.merges = -1;
    await all;
    await untilCounted(path);
    assertEquals(total(path)["packets"], 3000);
  }));
