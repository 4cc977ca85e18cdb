import { status } from "@grpc/grpc-js";
import { assert, assertEquals } from "@std/assert";

import { openRedisStore } from "../src/store/redis.ts";
import { countsOf, framedPacket, ingestDefaults, packet, RawCall } from "./harness.ts";
import { until } from "./until.ts";
import { Program } from "./program.ts";
import { startRedis } from "./redis_server.ts";

/** Two workers on a Redis of their own, both listening. */
async function startWorkers() {
  await using parts = new AsyncDisposableStack();
  const redis = parts.use(await startRedis());
  const env = { REDIS_HOST: "127.0.0.1", REDIS_PORT: String(redis.port), FLUSH_INTERVAL: "5ms" };
  const program = parts.use(
    await Program.start(["--role", "ingest", "--ingest-workers", "2"], env, { permissions: "workers" }),
  );
  const store = await openRedisStore({
    url: { host: "127.0.0.1", port: redis.port },
    ackAfter: { kind: "stored" },
    commandTimeoutMs: 1000,
    log: ingestDefaults.log,
  });
  parts.defer(() => store.close());
  const workers = [await program.line("ingest listening"), await program.line("ingest listening")];
  const started = parts.move();
  return {
    program,
    store,
    workers,
    port: Number(workers[0]!["port"]),
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  };
}

function alive(pid: unknown): boolean {
  return new Deno.Command("ps", { args: ["-p", String(pid)], stdout: "null" }).outputSync().success;
}

Deno.test("Two workers serve one port, and stop together", async () => {
  await using running = await startWorkers();
  const { program, store, workers, port } = running;
  assertEquals(workers.map((line) => line["port"]), [port, port]);
  for (let i = 0; i < 20; i++) {
    await using call = new RawCall(port);
    assertEquals((await call.finish(framedPacket(packet()))).code, status.OK);
  }
  assertEquals(await countsOf(store), { "sensor-1": 20 });
  program.signal("SIGTERM");
  const { code, lines } = await program.end();
  assertEquals(code, 0);
  assertEquals(lines.filter(({ message }) => message === "stopped").length, 3);
  assert(!workers.some(({ pid }) => alive(pid)));
});

Deno.test("A worker that dies is started again, and loses nothing that was acknowledged", async () => {
  await using running = await startWorkers();
  const { program, store, workers, port } = running;
  let acknowledged = 0;
  const send = async () => {
    await using call = new RawCall(port);
    if ((await call.finish(framedPacket(packet()))).code === status.OK) acknowledged++;
  };
  for (let i = 0; i < 10; i++) await send();
  Deno.kill(Number(workers[0]!["pid"]), "SIGKILL");
  await program.line("worker ended, starting it again");
  await program.line("ingest listening");
  for (let i = 0; i < 10; i++) await send();
  assertEquals(acknowledged, 20);
  assertEquals(await countsOf(store), { "sensor-1": 20 });
});

Deno.test("Workers end when the process that started them is killed", async () => {
  await using running = await startWorkers();
  running.program.signal("SIGKILL");
  await until(() => !running.workers.some(({ pid }) => alive(pid)), "the workers have ended");
});

Deno.test("Workers that cannot start end the program with their reason", async () => {
  await using redis = await startRedis();
  const taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using program = await Program.start(
    ["--role", "ingest", "--ingest-workers", "2"],
    { REDIS_HOST: "127.0.0.1", REDIS_PORT: String(redis.port), GRPC_PORT: String(taken.addr.port) },
    { permissions: "workers" },
  );
  const { code, lines } = await program.end();
  taken.close();
  assertEquals(code, 1);
  assert(
    lines.some(({ reason }) => String(reason).includes(`could not listen on 127.0.0.1:${taken.addr.port}`)),
  );
});
