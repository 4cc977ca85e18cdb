import { status } from "@grpc/grpc-js";
import { assert, assertEquals, assertRejects } from "@std/assert";

import { Backoff } from "../src/runtime/backoff.ts";
import { openRedisStore } from "../src/store/redis/redis_store.ts";
import { restartBackoff, startWorkers, type WorkersOptions } from "../src/workers.ts";
import { countsOf } from "./support/batches.ts";
import { framedPacket, ingestDefaults, packet, RawCall } from "./support/harness.ts";
import { Program } from "./support/program.ts";
import { startRedis } from "./support/redis_server.ts";
import { until } from "./support/until.ts";

/** Two workers on a Redis of their own, both listening. */
async function startProgram() {
  await using parts = new AsyncDisposableStack();
  const redis = parts.use(await startRedis());
  const env = { REDIS_HOST: "127.0.0.1", REDIS_PORT: String(redis.port), TALLY_FLUSH_INTERVAL: "5ms" };
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

Deno.test("TALLY_INGEST_WORKERS=2: both workers serve one port, and stop together", async () => {
  await using running = await startProgram();
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

Deno.test("startWorkers() restarts a worker that died; no acknowledged packet is lost", async () => {
  await using running = await startProgram();
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
  await using running = await startProgram();
  running.program.signal("SIGKILL");
  await until(() => !running.workers.some(({ pid }) => alive(pid)), "the workers have ended");
});

Deno.test("startWorkers(): workers that cannot start end the program with their reason", async () => {
  await using redis = await startRedis();
  const taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using program = await Program.start(
    ["--role", "ingest", "--ingest-workers", "2"],
    { REDIS_HOST: "127.0.0.1", REDIS_PORT: String(redis.port), TALLY_GRPC_PORT: String(taken.addr.port) },
    { permissions: "workers" },
  );
  const { code, lines } = await program.end();
  taken.close();
  assertEquals(code, 1);
  assert(
    lines.some(({ reason }) => String(reason).includes(`could not listen on 127.0.0.1:${taken.addr.port}`)),
  );
});

Deno.test("startWorkers() replaces a worker that hangs, and every call is answered", async () => {
  await using running = await startProgram();
  const { program, store, workers, port } = running;
  const pid = Number(workers[0]!["pid"]);
  Deno.kill(pid, "SIGSTOP");
  // Some of them reach the worker that hangs: their devices send again when their connection is cut.
  const send = async () => {
    for (;;) {
      await using call = RawCall.session(port, crypto.randomUUID());
      if ((await call.finish(framedPacket(packet()))).code === status.OK) return;
    }
  };
  const sending = Promise.all(Array.from({ length: 12 }, send));
  assertEquals((await program.line("worker hangs, killing it"))["worker"], workers[0]!["worker"]);
  await program.line("worker ended, starting it again");
  await program.line("ingest listening");
  await sending;
  assertEquals(await countsOf(store), { "sensor-1": 12 });
  assert(!alive(pid));
  program.signal("SIGTERM");
  assertEquals((await program.end()).code, 0);
});

Deno.test("startWorkers(): a worker killed just before SIGTERM does not make the stop a failure", async () => {
  await using running = await startProgram();
  const { program, workers } = running;
  Deno.kill(Number(workers[0]!["pid"]), "SIGKILL");
  program.signal("SIGTERM");
  assertEquals((await program.end()).code, 0);
});

/** Beats until its input ends. */
const beating = `while true; do read -t 0.05; [ $? -gt 128 ] || exit 0; printf '\\0' >&2; done`;

/** Workers that are shell scripts, and what was logged of them. */
function startScripts(script: string, options: Partial<WorkersOptions> = {}) {
  const errors: string[] = [];
  const lines: { message: string; properties: Record<string, unknown> }[] = [];
  const log = {
    error: (message: string, properties: Record<string, unknown>) => lines.push({ message, properties }),
  } as unknown as WorkersOptions["log"];
  const workers = startWorkers({
    count: 1,
    command: () =>
      new Deno.Command("bash", { args: ["-c", script], stdin: "piped", stdout: "null", stderr: "piped" }),
    stopTimeoutMs: 10_000,
    log,
    writeError: (bytes) => errors.push(new TextDecoder().decode(bytes)),
    ...options,
  });
  return { ...workers, errors, lines };
}

/** Records its waits, each of which ends at once, but the last, which ends when it is aborted. */
function recordedBackoff(waits: number[], count: number): () => Backoff {
  return () =>
    new Backoff({
      ...restartBackoff().options,
      random: () => 0,
      timer: (ms, signal) => {
        waits.push(ms);
        if (waits.length < count) return Promise.resolve();
        return new Promise((_, reject) => signal!.addEventListener("abort", reject));
      },
    });
}

Deno.test("startWorkers() waits longer after each failed start of a worker", async () => {
  const waits: number[] = [];
  const workers = startScripts("kill -9 $$", { backoff: recordedBackoff(waits, 9), upAfterMs: 3_600_000 });
  await until(() => waits.length === 9, "it was started nine times");
  assert(await workers.drain());
  assertEquals(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
  assertEquals(workers.lines.map(({ message }) => message), Array(9).fill("worker ended, starting it again"));
  assertEquals(workers.lines[1]!.properties["restartMs"], 200);
});

Deno.test("startWorkers() restarts a worker that had started after a short wait", async () => {
  const waits: number[] = [];
  const workers = startScripts("kill -9 $$", { backoff: recordedBackoff(waits, 3), upAfterMs: 0 });
  await until(() => waits.length === 3, "it was started three times");
  assert(await workers.drain());
  assertEquals(waits, [100, 100, 100]);
});

Deno.test("startWorkers() restarts a worker that failed after it had started", async () => {
  const waits: number[] = [];
  const workers = startScripts("exit 3", { backoff: recordedBackoff(waits, 2), upAfterMs: 0 });
  await Promise.race([workers.finished, until(() => waits.length === 2, "it was started again")]);
  assert(await workers.drain());
  assertEquals(workers.lines.map(({ properties }) => properties["code"]), [3, 3]);
});

Deno.test("startWorkers() does not treat a worker that waits for its restart as one that hangs", async () => {
  const waits: number[] = [];
  const options = { backoff: recordedBackoff(waits, 1), heartbeatIntervalMs: 50 };
  const workers = startScripts("kill -9 $$", options);
  await until(() => waits.length === 1, "it waits");
  const other = startScripts("read", options); // without a heartbeat
  await until(() => other.lines.some(({ message }) => message.includes("hangs")), "the other hangs");
  assertEquals(workers.lines.map(({ message }) => message), ["worker ended, starting it again"]);
  await workers.drain();
  await other.drain();
});

Deno.test("startWorkers() restarts a worker while a child process of it still runs", async () => {
  const waits: number[] = [];
  const workers = startScripts("sleep 60 & echo $! >&2; kill -9 $$", { backoff: recordedBackoff(waits, 1) });
  await until(() => waits.length === 1, "its end is noticed");
  Deno.kill(Number(workers.errors.join("")), "SIGKILL");
  assert(await workers.drain());
});

Deno.test("startWorkers() reports a program that cannot be started, and one that is gone later", async () => {
  const gone = new Deno.Command("/nowhere/deno", { stdin: "piped", stderr: "piped" });
  const never = startScripts("", { command: () => gone });
  await assertRejects(() => never.finished, Error, "worker 1 ended with code 1 as soon as it was started");
  await never.drain();

  const waits: number[] = [];
  let starts = 0;
  const later = startScripts("", {
    command: () =>
      ++starts > 1 ? gone : new Deno.Command("bash", {
        args: ["-c", "kill -9 $$"],
        stdin: "piped",
        stderr: "piped",
      }),
    backoff: recordedBackoff(waits, 3),
  });
  await until(() => waits.length === 3, "it was tried three times");
  assert(await later.drain());
  assertEquals(waits, [100, 200, 400]);
  assert(String(later.lines[1]!.properties["reason"]).includes("/nowhere/deno"));
});

Deno.test("startWorkers() forwards the workers' standard error, without heartbeats", async () => {
  const workers = startScripts(`printf 'one\\0two\\n' >&2; ${beating}`);
  await until(() => workers.errors.join("").length >= 7, "it was passed on");
  assert(await workers.drain());
  assertEquals(workers.errors.join(""), "onetwo\n");
});

Deno.test("RunningWorkers.drain() is true for a worker killed from outside, and false for one that failed", async () => {
  let process: Deno.ChildProcess | undefined;
  const command = (script: string) => () => {
    const made = new Deno.Command("bash", { args: ["-c", script], stdin: "piped", stderr: "piped" });
    const spawn = made.spawn.bind(made);
    made.spawn = () => process = spawn();
    return made;
  };
  const killed = startScripts("", { command: command(beating) });
  process!.kill("SIGKILL"); // and no event of it is seen before the stop begins
  assert(await killed.drain());

  const failing = startScripts("", { command: command("read; exit 3") });
  assert(!await failing.drain());

  const stuck = startScripts("", {
    command: command("read; while true; do sleep 0.1; done"),
    stopTimeoutMs: 100,
  });
  assert(!await stuck.drain());
});

/** `supervisor.ts` at work with workers that beat. */
async function startSupervisor() {
  const script = `printf '\\0' >&2; echo started $$; ${beating}`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", "tests/support/supervisor.ts", script],
    cwd: new URL("..", import.meta.url),
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let output = "";
  const read = (async () => {
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) output += text;
  })();
  const pids = () => Array.from(output.matchAll(/started (\d+)/g), ([, pid]) => Number(pid));
  await until(() => pids().length === 2, "both workers have started");
  return {
    child,
    pids,
    output: () => output,
    /** Stops it; its exit code. */
    async end(): Promise<number> {
      await child.stdin.close();
      const { code } = await child.status;
      await read;
      return code;
    },
  };
}

Deno.test("startWorkers() kills and replaces a worker whose heartbeats stop, and only that", async () => {
  const supervisor = await startSupervisor();
  const [first, second] = supervisor.pids();
  Deno.kill(first!, "SIGSTOP");
  await until(() => supervisor.pids().length === 3, "it is replaced");
  assert(!alive(first) && alive(second));
  assertEquals(await supervisor.end(), 0);
  assertEquals(supervisor.output().match(/worker hangs, killing it/g)?.length, 1);
});

Deno.test("startWorkers() kills no worker because of its own pause", async () => {
  const supervisor = await startSupervisor();
  supervisor.child.kill("SIGSTOP");
  // Longer than a worker may be silent.
  await new Promise((resolve) => setTimeout(resolve, 4000));
  supervisor.child.kill("SIGCONT");
  const { pid } = supervisor.child;
  // That it is at work again shows in what it does.
  Deno.kill(supervisor.pids()[0]!, "SIGKILL");
  await until(() => supervisor.pids().length === 3, "a worker that died is replaced");
  assert(alive(pid));
  assertEquals(await supervisor.end(), 0);
  assertEquals(supervisor.output().includes("hangs"), false, supervisor.output());
});
