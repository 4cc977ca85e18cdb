/** The recipes of OPERATIONS.md for backup and restore, with the program, a device and each store. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { DatabaseSync } from "node:sqlite";

import { TelemetryClient } from "../src/client/client.ts";
import { SCHEMA_VERSION } from "../src/store/sqlite/migrations.ts";
import { Program } from "./support/program.ts";
import { RedisServer, startRedis } from "./support/redis_server.ts";
import { until } from "./support/until.ts";
import { freePort } from "./support/free_port.ts";

const root = new URL("..", import.meta.url).pathname;
const payload = new TextEncoder().encode("x");

/** Folder that the tasks may write. */
async function withDataFolder(body: (folder: string) => Promise<void>): Promise<void> {
  await Deno.mkdir(`${root}/data`, { recursive: true });
  const folder = await Deno.makeTempDir({ dir: `${root}/data`, prefix: "test-backup-" });
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function backup(env: Record<string, string>, ...args: string[]) {
  return run(Deno.execPath(), ["run", "--no-prompt", "-P=ingest", "src/backup.ts", ...args], env);
}

async function run(command: string, args: string[], env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await new Deno.Command(command, {
    args,
    cwd: root,
    env: { REDIS_URL: "", REDIS_HOST: "", NO_COLOR: "1", ...env },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), error: text(stderr) };
}

/** What is done to a store between two runs of the program. */
interface Recipe {
  readonly env: Record<string, string>;
  /** While the program runs. */
  readonly backup: () => Promise<void>;
  /** While it does not. */
  readonly restore: () => Promise<void>;
}

/**
 * A device sends, the store is backed up, the device sends more, the backup is restored; then the device, which has been
 * there all along, sends the rest. All it sent is counted, or reported as lost with the store.
 */
async function restoreUnderDevice({ env, backup, restore }: Recipe): Promise<void> {
  const port = freePort(), ops = freePort();
  const start = async () => {
    const program = await Program.start([], { ...env, TALLY_GRPC_PORT: `${port}`, TALLY_OPS_PORT: `${ops}` });
    const { port: http } = await program.line("api listening");
    await program.line("ingest listening");
    return { program, http };
  };
  const stop = async (program: Program) => {
    program.signal("SIGTERM");
    assertEquals((await program.end()).code, 0);
  };
  await using client = await TelemetryClient.open({ target: `127.0.0.1:${port}`, maxBackoffMs: 100 });
  const send = async (packets: number) => {
    for (let i = 0; i < packets; i++) {
      await client.send({ device_id: `d-${i % 7}`, timestamp: Date.now(), payload });
    }
  };

  const first = await start();
  await using before = first.program;
  await send(1_000);
  await client.flush();
  await backup();
  await send(500);
  await client.flush();
  await stop(before);
  await send(50); // The client keeps them.
  await restore();

  const second = await start();
  await using after = second.program;
  await send(250);
  const { committed, pending } = await client.flush();
  assertEquals([committed, pending], [1_800, 0]);
  const counted = async () => {
    const counts: { count: number }[] = await (await fetch(`http://127.0.0.1:${second.http}/metrics`)).json();
    return counts.reduce((sum, { count }) => sum + count, 0);
  };
  await until(
    async () => await counted() === 1_300,
    "the api shows what was stored before the backup and after",
  );
  const metrics = await (await fetch(`http://127.0.0.1:${ops}/metrics`)).text();
  const lost = Number(/^tally_ingest_packets_lost_total (\d+)$/m.exec(metrics)![1]);
  assertEquals(lost, 500, "what was acknowledged after the backup is reported as lost");
  await stop(after);
}

Deno.test("deno task backup refuses a missing file, a name that is taken, and a Redis, and leaves no part of a copy", () =>
  withDataFolder(async (folder) => {
    const file = `${folder}/tally.db`, to = `${folder}/copy.db`;
    const missing = await backup({ TALLY_DB: file }, "--to", to);
    assertEquals(missing.code, 1);
    assertStringIncludes(missing.error, "found no file there");
    const db = new DatabaseSync(file);
    db.exec("CREATE TABLE a (b); INSERT INTO a VALUES (1)");
    db.close();
    await Deno.writeTextFile(to, "mine");
    const taken = await backup({ TALLY_DB: file }, "--to", to);
    assertEquals([taken.code, await Deno.readTextFile(to)], [1, "mine"]);
    assertStringIncludes(taken.error, "choose a name that is free");
    const redis = await backup({ REDIS_HOST: "localhost" });
    assertEquals(redis.code, 2);
    assertStringIncludes(redis.error, "OPERATIONS.md");
    const names = await Array.fromAsync(Deno.readDir(folder), ({ name }) => name);
    assert(!names.some((name) => name.endsWith(".part")), names.join());
  }));

Deno.test("main.ts refuses a SQLite file and a Redis of a newer layout, with exit code 1 and a line that states both versions", () =>
  withDataFolder(async (folder) => {
    const file = `${folder}/tally.db`;
    const db = new DatabaseSync(file);
    db.exec(`PRAGMA application_id = ${0x54414c59}; PRAGMA user_version = ${SCHEMA_VERSION + 1}`);
    db.close();
    await using redis = await startRedis();
    await redis.call("SET", "tally:{device_metrics}:layout", 1_000);
    for (
      const [env, found] of [
        [{ TALLY_DB: file }, `schema version ${SCHEMA_VERSION + 1}, this program supports ${SCHEMA_VERSION}`],
        [{ REDIS_URL: redis.url }, "found layout 1000, this program supports layouts up to"],
      ] as const
    ) {
      await using program = await Program.start([], env);
      const { code, lines } = await program.end();
      assertEquals(code, 1);
      assertStringIncludes(String(lines.find(({ message }) => message === "failed")?.reason), found);
    }
  }));

/** grpc-js keeps timers of its connections for a while after they are closed. */
const sanitizers = { sanitizeOps: false, sanitizeResources: false };

Deno.test(
  "SQLite: deno task backup while Tally runs, and its copy in the file's place, lose what was acknowledged since, and no more",
  sanitizers,
  () =>
    withDataFolder(async (folder) => {
      const env = { TALLY_DB: `${folder}/tally.db` }, copy = `${folder}/backup/copy.db`;
      await restoreUnderDevice({
        env,
        async backup() {
          const { code, out, error } = await backup(env, "--to", copy);
          assertEquals([code, error.replace(/^Warning.*\n/, "")], [0, ""]);
          assertStringIncludes(out, copy);
        },
        async restore() {
          for (const end of ["", "-wal", "-shm"]) {
            await Deno.remove(`${env.TALLY_DB}${end}`).catch((error) => {
              if (!(error instanceof Deno.errors.NotFound)) throw error;
            });
          }
          await Deno.copyFile(copy, env.TALLY_DB);
        },
      });
    }),
);

Deno.test(
  "Redis: redis-cli --rdb while Tally runs, and the file in the place of the RDB, lose what was acknowledged since, and no more",
  sanitizers,
  async () => {
    await using redis = await startRedis({ dbfilename: "dump.rdb" });
    const copy = `${redis.dir}/copy.rdb`;
    await restoreUnderDevice({
      env: { REDIS_URL: redis.url },
      async backup() {
        const { code, error } = await run("redis-cli", ["-u", redis.url, "--rdb", copy]);
        assertEquals(code, 0, error);
      },
      restore: () => restoreRdb(redis, copy),
    });
  },
);

Deno.test(
  "Redis with an append-only file: an RDB is restored by a start without it, which then writes it anew",
  sanitizers,
  async () => {
    await using redis = await startRedis({ appendonly: "yes", dbfilename: "dump.rdb" });
    const copy = `${redis.dir}/copy.rdb`;
    await restoreUnderDevice({
      env: { REDIS_URL: redis.url },
      async backup() {
        const { code, error } = await run("redis-cli", ["-u", redis.url, "--rdb", copy]);
        assertEquals(code, 0, error);
      },
      async restore() {
        await redis.kill9();
        await Deno.remove(`${redis.dir}/appendonlydir`, { recursive: true });
        await Deno.copyFile(copy, `${redis.dir}/dump.rdb`);
        const without = new RedisServer(redis.port, redis.dir, { dbfilename: "dump.rdb" });
        await without.start();
        await without.call("CONFIG", "SET", "appendonly", "yes");
        await until(
          async () =>
            /aof_rewrite_in_progress:0[^]*aof_last_bgrewrite_status:ok/.test(
              String(await without.call("INFO", "persistence")),
            ),
          "the append-only file is written",
        );
        await without.kill9();
        await redis.start();
      },
    });
  },
);

async function restoreRdb(redis: RedisServer, copy: string): Promise<void> {
  await redis.kill9();
  await Deno.copyFile(copy, `${redis.dir}/dump.rdb`);
  await redis.start();
}
